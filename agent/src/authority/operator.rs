//! An operator's CA: read, and checked by using it once.
//!
//! The certificate file starts with the issuing certificate; those above it
//! follow in order. The last one goes into the trust bundle, so who can write
//! this file decides whom the trust domain trusts: both files have to belong
//! to the agent's user or root, and nobody else may write them or read the
//! key. Then a leaf is signed for a name that no client can have, and has to be valid
//! as an X.509-SVID. So every rule that verifiers apply later is applied here.

use super::{
    AuthorityError, OperatorCa, X509Request,
    issuer::{CaKey, X509Signer},
    key_directory::read_whole,
    pem::{self, PemError},
};
use crate::svid::{
    PrivateKey,
    x509::{MAX_DER_BYTES, X509Error, certificates, signing_trust_domain, validate},
};
use bytes::Bytes;
use rustix::{
    fs::{self, FileType, Mode, OFlags},
    process::geteuid,
};
use spiffe::{SpiffeId, TrustDomain};
use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};
use zeroize::Zeroizing;

/// Base64 needs four characters for three bytes, and there may be comments.
const MAX_FILE_BYTES: usize = MAX_DER_BYTES * 2;

/// Why an operator's CA was refused. All are the operator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum OperatorCaError {
    /// A file cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is not a regular one, or larger than any certificate chain.
    #[error("{0} is not a regular file of reasonable size")]
    NotAFile(PathBuf),
    /// Others could write the file, or read the key.
    #[error(
        "{0} has to belong to root or the agent's user; others must not write it or read a key"
    )]
    Wide(PathBuf),
    /// Not PEM.
    #[error("{path}: {source}")]
    Pem {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: PemError,
    },
    /// The certificate file has no certificate.
    #[error("{0} has no certificate")]
    NoCertificate(PathBuf),
    /// The key file does not have exactly one private key of a known kind.
    #[error("{0} has to have exactly one private key: P-256, P-384 or RSA, not encrypted")]
    Key(PathBuf),
    /// The key is not that of the first certificate.
    #[error("{0} is not the key of the first certificate")]
    OtherKey(PathBuf),
    /// The issuing certificate's SPIFFE ID is of another trust domain.
    #[error("{path} is for trust domain {found}")]
    TrustDomain {
        /// The certificate file.
        path: PathBuf,
        /// What its URI SAN says.
        found: String,
    },
    /// The subject's name cannot be written again byte for byte, so nothing could chain to it.
    #[error(
        "{0}: the subject of the first certificate has repeated or combined attributes, which are not supported"
    )]
    Subject(PathBuf),
    /// What it issues would not be an X.509-SVID.
    #[error("{path} cannot issue X.509-SVIDs: {source}")]
    Profile {
        /// The certificate file.
        path: PathBuf,
        /// The first rule that does not hold.
        source: X509Error,
    },
}

/// A CA that has been checked.
#[derive(Debug)]
pub(super) struct CheckedCa {
    /// The issuing certificate, then those above it, DER.
    pub(super) chain: Vec<Bytes>,
    pub(super) signer: X509Signer,
}

/// Reads and checks an operator's CA.
pub(super) fn load(
    files: &OperatorCa,
    trust_domain: &TrustDomain,
    now: SystemTime,
) -> Result<CheckedCa, AuthorityError> {
    let path = || files.certificate_file.clone();
    let chain = read_chain(&files.certificate_file)?;
    let key = read_key(&files.key_file)?;
    let profile = |source| OperatorCaError::Profile {
        path: path(),
        source,
    };
    let issuing = chain
        .first()
        .ok_or_else(|| OperatorCaError::NoCertificate(path()))?;
    check_issuing(issuing, &key, files, trust_domain)?;
    let signer = X509Signer::new(key, &chain).map_err(profile)?;
    probe(&signer, &chain, trust_domain, now).map_err(|error| match error {
        Probe::Sign(error) => error,
        // The only certificate here that names a wrong issuer is ours.
        Probe::Name => OperatorCaError::Subject(path()).into(),
        Probe::Profile(source) => profile(source).into(),
    })?;
    Ok(CheckedCa { chain, signer })
}

enum Probe {
    Sign(AuthorityError),
    Name,
    Profile(X509Error),
}

/// Signs a leaf that nobody gets, and validates it.
fn probe(
    signer: &X509Signer,
    chain: &[Bytes],
    trust_domain: &TrustDomain,
    now: SystemTime,
) -> Result<(), Probe> {
    let name = SpiffeId::from_segments(trust_domain.clone(), &["symbolon", "probe"])
        .map_err(|error| Probe::Profile(X509Error::SpiffeId(error)))?;
    let key = PrivateKey::generate().map_err(|error| Probe::Sign(error.into()))?;
    let request = X509Request {
        spiffe_id: &name,
        dns_names: &[],
        public_key: key.public_key(),
        lifetime: Duration::from_secs(60),
    };
    let anchor = chain.last().ok_or(Probe::Profile(X509Error::Empty))?;
    let signed = match signer.sign(&request, request.lifetime, now) {
        Ok(signed) => signed,
        Err(AuthorityError::NoneValid(_)) => {
            return Err(Probe::Profile(validity_error(chain, now)));
        }
        Err(error) => return Err(Probe::Sign(error)),
    };
    let issuer_matches = || {
        let leaf = certificates(&signed.chain).ok()?;
        let issuing = certificates(chain.first()?).ok()?;
        Some(leaf.first()?.issuer().as_raw() == issuing.first()?.subject().as_raw())
    };
    if issuer_matches() != Some(true) {
        return Err(Probe::Name);
    }
    validate(&signed.chain, anchor, trust_domain, now)
        .map(|_svid| ())
        .map_err(Probe::Profile)
}

/// Why no time is left for a leaf.
fn validity_error(chain: &[Bytes], now: SystemTime) -> X509Error {
    match super::issuer::window(chain) {
        Ok(window) if now < window.not_before => X509Error::NotYetValid,
        _ => X509Error::Expired,
    }
}

fn check_issuing(
    issuing: &[u8],
    key: &CaKey,
    files: &OperatorCa,
    trust_domain: &TrustDomain,
) -> Result<(), OperatorCaError> {
    let profile = |source| OperatorCaError::Profile {
        path: files.certificate_file.clone(),
        source,
    };
    let found = certificates(issuing).map_err(profile)?;
    let certificate = found.first().ok_or_else(|| profile(X509Error::Empty))?;
    if !key.fits(certificate) {
        return Err(OperatorCaError::OtherKey(files.key_file.clone()));
    }
    // A signing certificate should reside in the trust domain that it issues for (X509-SVID.md,
    // section 3.2); another one there is most likely a mistake.
    match signing_trust_domain(certificate).map_err(profile)? {
        Some(found) if found != *trust_domain => Err(OperatorCaError::TrustDomain {
            path: files.certificate_file.clone(),
            found: found.to_string(),
        }),
        _ => Ok(()),
    }
}

fn read_chain(path: &Path) -> Result<Vec<Bytes>, OperatorCaError> {
    let content = read(path, Mode::WGRP | Mode::WOTH)?;
    let blocks = pem_blocks(&content, path)?;
    let chain: Vec<_> = blocks
        .iter()
        .filter(|block| block.label == "CERTIFICATE")
        .map(|block| Bytes::copy_from_slice(&block.content))
        .collect();
    if chain.is_empty() {
        return Err(OperatorCaError::NoCertificate(path.to_owned()));
    }
    Ok(chain)
}

fn read_key(path: &Path) -> Result<CaKey, OperatorCaError> {
    let content = read(path, Mode::WGRP | Mode::RWXO)?;
    let blocks = pem_blocks(&content, path)?;
    let mut keys = blocks.iter().filter(|block| {
        matches!(
            block.label,
            "PRIVATE KEY" | "EC PRIVATE KEY" | "RSA PRIVATE KEY"
        )
    });
    match (keys.next(), keys.next()) {
        (Some(block), None) => CaKey::from_der(&block.content),
        _ => None,
    }
    .ok_or_else(|| OperatorCaError::Key(path.to_owned()))
}

fn pem_blocks<'a>(content: &'a [u8], path: &Path) -> Result<Vec<pem::Block<'a>>, OperatorCaError> {
    str::from_utf8(content)
        .map_err(|_binary| PemError::Encoding)
        .and_then(pem::blocks)
        .map_err(|source| OperatorCaError::Pem {
            path: path.to_owned(),
            source,
        })
}

/// Reads a file that nobody has `forbidden` rights on but root and the agent's user.
fn read(path: &Path, forbidden: Mode) -> Result<Zeroizing<Vec<u8>>, OperatorCaError> {
    let error = |source: io::Error| OperatorCaError::Io {
        path: path.to_owned(),
        source,
    };
    // Symbolic links are followed: secret mounts consist of them.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = fs::open(path, flags, Mode::empty()).map_err(|errno| error(errno.into()))?;
    let stat = fs::fstat(&file).map_err(|errno| error(errno.into()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(OperatorCaError::NotAFile(path.to_owned()));
    }
    let owned = stat.st_uid == 0 || stat.st_uid == geteuid().as_raw();
    if !owned || Mode::from_raw_mode(stat.st_mode).intersects(forbidden) {
        return Err(OperatorCaError::Wide(path.to_owned()));
    }
    read_whole(File::from(file), MAX_FILE_BYTES)
        .map_err(error)?
        .ok_or_else(|| OperatorCaError::NotAFile(path.to_owned()))
}
