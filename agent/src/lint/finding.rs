//! What can be weak about a registration: stable words, severities, advice.
//!
//! `agent/doc/lint.md` has a section for each word; a test compares.

use symbolon_attestors::Selector;

/// How much a weakness matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing.
    Notice,
    /// Others than meant can have the identity: refused unless accepted with a reason.
    Serious,
    /// A standard or the operator's configuration rules it out: refused whatever the reason.
    Forbidden,
}

impl Severity {
    /// The word for it in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Notice => "notice",
            Self::Serious => "serious",
            Self::Forbidden => "forbidden",
        }
    }
}

macro_rules! weaknesses {
    ($($(#[$doc:meta])* $name:ident = $id:literal, $instead:literal;)*) => {
        /// A kind of weakness.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Weakness {
            $($(#[$doc])* $name,)*
        }

        impl Weakness {
            /// All of them, in the order of their words.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The stable word for it.
            #[must_use]
            pub const fn id(self) -> &'static str {
                match self {
                    $(Self::$name => $id,)*
                }
            }

            /// What to use instead.
            #[must_use]
            pub const fn instead(self) -> &'static str {
                match self {
                    $(Self::$name => $instead,)*
                }
            }
        }
    };
}

weaknesses! {
    /// The audience `*`.
    AnyAudience = "any-audience",
        "List the audiences that the client needs.";
    /// A digest or path without any word on who runs it.
    AnybodyRunsIt = "anybody-runs-it",
        "Add who runs it: its own unix:uid, a systemd:id or a container's image digest.";
    /// A path with `.` or `..`.
    ClientIdDotSegments = "client-id-dot-segments",
        "Name the document without segments . and .. in its path.";
    /// A URL with a fragment.
    ClientIdFragment = "client-id-fragment",
        "Leave out # and what follows.";
    /// No URL.
    ClientIdMalformed = "client-id-malformed",
        "Give the https URL of the document.";
    /// Another URL than the document's own.
    ClientIdMismatch = "client-id-mismatch",
        "Let client_id repeat the URL, character by character.";
    /// A document without its URL.
    ClientIdMissing = "client-id-missing",
        "Add client_id with the document's URL.";
    /// A URL without a path.
    ClientIdPath = "client-id-path",
        "Put the document below a path, such as /client.json.";
    /// A URL with a query.
    ClientIdQuery = "client-id-query",
        "Name the document by its path alone.";
    /// Another scheme than https.
    ClientIdScheme = "client-id-scheme",
        "Serve the document over https.";
    /// The ID of another client.
    ClientIdTaken = "client-id-taken",
        "Give each client a document of its own.";
    /// A URL with a user.
    ClientIdUserInfo = "client-id-user-info",
        "Leave out the user and the @.";
    /// No name for people.
    ClientNameMissing = "client-name-missing",
        "Add client_name.";
    /// Words on loaded files that leave executable memory of no file open.
    CodeWithoutJit = "code-without-jit",
        "Add code:jit:false, unless the program makes code while it runs.";
    /// No JSON object.
    DocumentMalformed = "document-malformed",
        "Write one JSON object, in which no name stands twice.";
    /// More than readers take.
    DocumentTooLarge = "document-too-large",
        "Leave out what nobody reads: at most 5,120 bytes.";
    /// A fact that does not outlive a restart.
    EndsWithRestart = "ends-with-restart",
        "Name what comes back: the systemd unit, the image digest, the uid.";
    /// A grant or response type that OAuth 2.1 has given up.
    GrantObsolete = "grant-obsolete",
        "Use authorization_code with PKCE, or client_credentials.";
    /// Grant types and response types that do not go together.
    GrantWithoutResponse = "grant-without-response",
        "Name both authorization_code and code, or neither.";
    /// A host that the operator did not approve.
    HostNotApproved = "host-not-approved",
        "Use an approved host, or have it added to registry.approved_hosts.";
    /// A program that runs other programs' text.
    Interpreter = "interpreter",
        "Give the script a systemd unit, a container image or a uid of its own, and name that.";
    /// The key of another client.
    KeyShared = "key-shared",
        "Give each client keys of its own.";
    /// A key is to be proved, and none is published.
    KeysMissing = "keys-missing",
        "Add jwks_uri, or let the agent host the document.";
    /// Keys that may change unseen.
    KeysNotPinned = "keys-not-pinned",
        "Pin them with --jwks, or let the agent host the document.";
    /// Keys in the document and behind a link.
    KeysTwice = "keys-twice",
        "Keep jwks_uri and take jwks out.";
    /// A user that people log in as, or root.
    LoginUser = "login-user",
        "Run the client as a user of its own, which nobody logs in as, or as a systemd unit.";
    /// Hundreds of processes fit now.
    ManyProcesses = "many-processes",
        "Add what only this client's processes have: unit, image digest, program digest.";
    /// A value of another type than the member has.
    MemberType = "member-type",
        "Write the member as RFC 7591, section 2, has it.";
    /// There is no such file.
    MissingPath = "missing-path",
        "Install the program first, or register it by its digest.";
    /// A program that passes on what it is told.
    Mouthpiece = "mouthpiece",
        "Register the program behind it, by digest, with a unit or a uid of its own.";
    /// Nothing authenticates the client.
    NoClientAuthentication = "no-client-authentication",
        "Use private_key_jwt: the agent has the key and makes the assertions.";
    /// The agent's documents are found nowhere.
    NoPublicUrl = "no-public-url",
        "Set identity.public_url, and serve or publish the documents there.";
    /// The machine did not answer in time.
    NotJudged = "not-judged",
        "Look at the path and its file system, then ask again with: symbolon client lint NAME";
    /// Another client fits the same processes.
    Overlap = "overlap",
        "Add to each set what the other client's processes do not have.";
    /// Symbolon itself.
    OwnBinary = "own-binary",
        "Register the program that uses the identity; it can ask the socket itself.";
    /// A key with its private part.
    PrivateKey = "private-key",
        "Take the key out, and never use it again.";
    /// A redirect URI with a fragment.
    RedirectUriFragment = "redirect-uri-fragment",
        "Leave out # and what follows.";
    /// A name for loopback.
    RedirectUriLocalhost = "redirect-uri-localhost",
        "Use 127.0.0.1 or [::1].";
    /// Loopback, of a client that runs elsewhere.
    RedirectUriLoopback = "redirect-uri-loopback",
        "Set application_type to native where it runs on people's machines, or use an https URL.";
    /// No absolute URI.
    RedirectUriMalformed = "redirect-uri-malformed",
        "Write the whole URI, as it is sent.";
    /// Another origin than the document's.
    RedirectUriOrigin = "redirect-uri-origin",
        "Serve it from the document's origin, or allow the origin by name.";
    /// Codes in the clear.
    RedirectUriPlainHttp = "redirect-uri-plain-http",
        "Use https.";
    /// A scheme that any program can claim.
    RedirectUriPrivateScheme = "redirect-uri-private-scheme",
        "Use an https URL, or 127.0.0.1; for native clients a scheme named after a domain.";
    /// A scheme that a browser acts on.
    RedirectUriScheme = "redirect-uri-scheme",
        "Use https.";
    /// The redirect URI of another client.
    RedirectUriShared = "redirect-uri-shared",
        "Give each client a path of its own.";
    /// A redirect URI with a user.
    RedirectUriUserInfo = "redirect-uri-user-info",
        "Leave out the user and the @.";
    /// A pattern.
    RedirectUriWildcard = "redirect-uri-wildcard",
        "List each redirect URI as it is sent.";
    /// Nowhere to send people back to.
    RedirectUrisEmpty = "redirect-uris-empty",
        "Add a redirect URI, or use client_credentials alone.";
    /// No list of redirect URIs.
    RedirectUrisMissing = "redirect-uris-missing",
        "Add redirect_uris; [] for a client that needs none.";
    /// A secret that everybody reads.
    SecretInDocument = "secret-in-document",
        "Take it out, and never use it again.";
    /// Nothing but what the process, or who starts it, chooses.
    SelfChosen = "self-chosen",
        "Add a fact that the kernel or the service manager decides: uid, unit, image digest.";
    /// A user that many programs share.
    SharedUser = "shared-user",
        "Give the client a uid of its own, or name its unit or image digest.";
    /// A link, and not the file that it leads to.
    SymlinkPath = "symlink-path",
        "Name the file that the link leads to: realpath PATH shows it.";
    /// An algorithm without a public key.
    SymmetricAlgorithm = "symmetric-algorithm",
        "Use ES256.";
    /// A method that rests on a shared secret.
    SymmetricMethod = "symmetric-method",
        "Use private_key_jwt.";
    /// A type that no attestor makes.
    UnknownType = "unknown-type",
        "Use the selectors that symbolon attest --pid PID shows.";
    /// A page, picture or key set without TLS.
    UrlNotHttps = "url-not-https",
        "Use an https URL.";
    /// A file that others can replace.
    WritablePath = "writable-path",
        "Install the program where only root can write, or add its unix:sha256.";
}

/// One weakness of one registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which.
    pub weakness: Weakness,
    /// How much it matters here.
    pub severity: Severity,
    /// The selector set that is meant; empty where it is the whole registration.
    pub selectors: Vec<Selector>,
    /// The member of the metadata document that is meant, as a JSON pointer (RFC 6901).
    pub pointer: String,
    /// Why, in a sentence about this registration.
    pub explanation: String,
}

impl Finding {
    /// Whether it keeps the registration from being put in force unless it is accepted.
    #[must_use]
    pub const fn is_serious(&self) -> bool {
        matches!(self.severity, Severity::Serious | Severity::Forbidden)
    }

    /// Whether no reason puts the registration in force all the same.
    #[must_use]
    pub const fn is_forbidden(&self) -> bool {
        matches!(self.severity, Severity::Forbidden)
    }
}

/// Collects what is found in one selector set.
#[derive(Debug)]
pub(super) struct Findings<'a> {
    selectors: &'a [Selector],
    found: Vec<Finding>,
}

impl<'a> Findings<'a> {
    pub(super) const fn about(selectors: &'a [Selector]) -> Self {
        Self {
            selectors,
            found: Vec::new(),
        }
    }

    pub(super) fn add(
        &mut self,
        weakness: Weakness,
        severity: Severity,
        explanation: impl Into<String>,
    ) {
        self.found.push(Finding {
            weakness,
            severity,
            selectors: self.selectors.to_vec(),
            pointer: String::new(),
            explanation: explanation.into(),
        });
    }

    pub(super) fn into_vec(self) -> Vec<Finding> {
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::Weakness;
    use std::{fs, path::Path};

    #[test]
    fn words_are_sorted_and_documented() {
        let ids: Vec<_> = Weakness::ALL.iter().map(|weakness| weakness.id()).collect();
        assert!(ids.is_sorted());
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("doc/lint.md");
        let page = fs::read_to_string(page).unwrap();
        let documented: Vec<_> = page
            .lines()
            .filter_map(|line| line.strip_prefix("### "))
            .collect();
        assert_eq!(ids, documented);
    }
}
