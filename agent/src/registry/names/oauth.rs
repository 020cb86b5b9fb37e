//! The texts that authorization servers read: URLs that are compared exactly, words and lines.

use super::{Check, Parse, TextError, limits, printable};
use crate::uri::Uri;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, marker::PhantomData, str::FromStr, sync::Arc};

text!(
    /// The issuer of an authorization server (RFC 8414, section 2), compared exactly.
    ///
    /// Plain HTTP will do on loopback alone, where nobody is between.
    IssuerUrl,
    "an authorization server",
    |text| {
        let uri = web(text)?;
        let is_local = uri.scheme == "http" && uri.is_loopback();
        if uri.scheme != "https" && !is_local {
            return Err("is an https URL, or an http URL of this machine");
        }
        if uri.query.is_some() {
            return Err("has no query");
        }
        Ok(())
    }
);

text!(
    /// The URL of a client ID metadata document, which is the client's ID, compared exactly.
    ClientIdUrl,
    "a client_id",
    |text| {
        // Client ID Metadata Document, section 3.
        let uri = https(text)?;
        if uri.path.is_empty() {
            return Err("has a path");
        }
        if uri.has_dot_segments() {
            return Err("has no '.' or '..' in its path");
        }
        Ok(())
    }
);

text!(
    /// Where an authorization server sends people back to, compared exactly.
    RedirectUri,
    "a redirect URI",
    |text| {
        if text.len() > limits::URL_BYTES {
            return Err("has at most 1,024 bytes");
        }
        let uri = Uri::parse(text).map_err(|_none| NO_URI)?;
        // RFC 6749, section 3.1.2.
        if uri.fragment.is_some() {
            return Err("has no fragment");
        }
        if uri.has_user_info() {
            return Err("names no user");
        }
        // RFC 9700, section 4.1.3.
        if text.contains('*') {
            return Err("has no '*': it is compared exactly");
        }
        let is_web = uri.is("https") || uri.is("http");
        if is_web && uri.host().is_none() {
            return Err("has a host");
        }
        if ["javascript", "data", "vbscript", "file", "blob", "about"]
            .into_iter()
            .any(|scheme| uri.is(scheme))
        {
            return Err("leads to a server or to a program, not into the browser itself");
        }
        Ok(())
    }
);

text!(
    /// A page for people, or a picture.
    WebUrl,
    "a web page",
    |text| https(text).map(|_uri| ())
);

text!(
    /// Scheme, host and port: `https://app.example.org`.
    RedirectOrigin,
    "an allowed origin",
    |text| {
        let uri = https(text)?;
        let origin = uri.origin().is_some_and(|origin| origin.as_str() == text);
        if origin {
            Ok(())
        } else {
            Err("is a scheme, a host in lower case and a port other than 443, with nothing behind")
        }
    }
);

text!(
    /// A client's name for people.
    ClientLabel,
    "a client_name",
    |text| line(text)
);

text!(
    /// Somebody to write to.
    Contact,
    "a contact",
    |text| line(text)
);

text!(
    /// What tells the software from others, whatever its version.
    SoftwareId,
    "a software_id",
    |text| line(text)
);

text!(
    /// Words of a scope with one space between (RFC 6749, section 3.3).
    Scope,
    "a scope",
    |text| {
        let ok = |b: u8| b.is_ascii_graphic() && b != b'"' && b != b'\\';
        let word = |word: &str| !word.is_empty() && word.bytes().all(ok);
        if text.len() <= limits::SCOPE_BYTES && text.split(' ').all(word) {
            Ok(())
        } else {
            Err("has words of printable ASCII with one space between, and at most 1,024 bytes")
        }
    }
);

text!(
    /// A grant type, a response type, a method or an algorithm.
    Term,
    "a word of OAuth",
    |text| {
        let ok = |b: u8| b.is_ascii_graphic() && b != b'"' && b != b'\\';
        let word = |word: &str| !word.is_empty() && word.bytes().all(ok);
        if text.len() <= limits::LABEL_BYTES && text.split(' ').all(word) {
            Ok(())
        } else {
            Err("has words of printable ASCII with one space between, and at most 256 bytes")
        }
    }
);

const NO_URI: &str = "is not an absolute URI as RFC 3986 writes it";

/// A URL that leads to a host and nothing within a page.
fn web(text: &str) -> Result<Uri<'_>, &'static str> {
    if text.len() > limits::URL_BYTES {
        return Err("has at most 1,024 bytes");
    }
    let uri = Uri::parse(text).map_err(|_none| NO_URI)?;
    if uri.host().is_none() {
        return Err("has a host");
    }
    if uri.has_user_info() {
        return Err("names no user");
    }
    if uri.fragment.is_some() {
        return Err("has no fragment");
    }
    Ok(uri)
}

fn https(text: &str) -> Result<Uri<'_>, &'static str> {
    let uri = web(text)?;
    if uri.scheme == "https" {
        Ok(uri)
    } else {
        Err("is an https URL")
    }
}

fn line(text: &str) -> Check {
    if text.trim().is_empty() {
        return Err("must not be empty");
    }
    printable(text, limits::LABEL_BYTES, "has at most 256 bytes")
}
