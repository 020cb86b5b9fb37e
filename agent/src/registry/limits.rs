//! How large a registration may be; each limit with its reason.

/// Bytes of a client's name: it is one label in its SPIFFE ID and fits a DNS label.
pub const NAME_BYTES: usize = 63;
/// Bytes of an owner: an address or a team, not a text.
pub const OWNER_BYTES: usize = 256;
/// Bytes of a purpose: a few sentences.
pub const PURPOSE_BYTES: usize = 1_024;
/// Bytes of the reason for a change, which every listing and audit line repeats.
pub const REASON_BYTES: usize = 1_024;
/// Bytes of an operator's name, as the admin socket derives it from peer credentials.
pub const ACTOR_BYTES: usize = 256;
/// Bytes of a source: the name of a repository or a tool, not a text.
pub const SOURCE_BYTES: usize = 256;
/// Bytes of a hint: SPIFFE Workload API, section 8, has the figure.
pub const HINT_BYTES: usize = 1_024;
/// Bytes of an audience: it is repeated in every token, and a URL of this length works everywhere.
pub const AUDIENCE_BYTES: usize = 1_024;
/// Bytes of a SPIFFE ID: SPIFFE-ID, section 2.3.
pub const SPIFFE_ID_BYTES: usize = 2_048;
/// Bytes of a DNS name: RFC 1035, section 2.3.4, less the root's dot and length.
pub const DNS_NAME_BYTES: usize = 253;
/// Bytes of a label of a DNS name: RFC 1035, section 2.3.4.
pub const DNS_LABEL_BYTES: usize = 63;

/// Selector sets of a client: each is one way to run it.
pub const SELECTOR_SETS: usize = 64;
/// Selectors of a set: more than attestors have kinds of facts.
pub const SELECTORS_PER_SET: usize = 32;
/// Audiences of a client: the servers that it talks to.
pub const AUDIENCES: usize = 256;
/// Audiences of one JWT-SVID: each widens what a stolen token is good for.
pub const AUDIENCES_PER_TOKEN: u32 = 16;
/// DNS names of a client: each lengthens every certificate of it.
pub const DNS_NAMES: usize = 32;
/// Authorization servers of a client: each may be shown an assertion.
pub const AUTHORIZATION_SERVERS: usize = 32;
/// Other trust domains of a client: their bundles are in each of its answers.
pub const FEDERATES_WITH: usize = 64;
/// Bytes of a URL in a client's metadata, and of a bundle endpoint's: what browsers and servers take
/// everywhere.
pub const URL_BYTES: usize = 1_024;
/// Bytes of a client's name for people, of a contact or a software ID: a line, not a text.
pub const LABEL_BYTES: usize = 256;
/// Bytes of a scope: it is repeated in every request for a token.
pub const SCOPE_BYTES: usize = 1_024;
/// Redirect URIs, grant types, response types, contacts and allowed origins of a client, of each.
pub const METADATA_ITEMS: usize = 32;
/// Bytes of a client's metadata as JSON, and of the document that is made of it: what readers take
/// (Client ID Metadata Document, section 8.7).
pub const METADATA_BYTES: usize = 5 * 1_024;
/// Levels of members that are not known: RFC 7591 has two, and what is kept is shown.
pub const METADATA_DEPTH: usize = 6;
/// Accepted weaknesses of a client: more than there are kinds of.
pub const ACCEPTED_WEAKNESSES: usize = 64;
/// Foreign trust domains with a federation in force or proposed: each is polled, and its bundle kept.
pub const RELATIONSHIPS: usize = 256;
/// Bytes of one stored record: what all of the above may come to together.
pub const RECORD_BYTES: usize = 256 * 1_024;
/// Approvals that a change may need: with more people, nobody feels that it is up to them.
pub const APPROVALS: u32 = 5;
/// Latest time, in seconds since 1970: the end of 9999, the last that RFC 3339 can write.
pub const LATEST_SECONDS: u64 = 253_402_300_799;

/// Clients that were ever registered, by default: about 1 KB of memory each, and names stay taken.
pub const CLIENTS: usize = 250_000;

/// Requests to change the registry that wait for the writer before callers are held back.
pub(super) const WAITING_COMMANDS: usize = 256;
/// Changes that are made durable together.
pub(super) const COMMANDS_PER_COMMIT: usize = 128;
/// Records read from the store at a time: bounds the memory that loading takes.
pub(super) const RECORDS_PER_READ: usize = 4_096;
/// How often a commit is tried anew when another writer of the same store was faster.
pub(super) const COMMIT_ATTEMPTS: usize = 8;
/// Records of a client's history that are read at a time: bounds the memory that showing it takes.
pub(super) const RECORDS_PER_PAGE: usize = 64;
/// Records that leave in a backup at a time: changes of the registry wait for that long.
pub(super) const RECORDS_PER_EXPORT: usize = 512;
