//! An X.509-SVID as the command line shows and writes it.
//!
//! What the agent sent is parsed, and key and certificate are compared, before
//! anything is shown or written: a file never holds a key that does not fit.

use super::{files::FileSet, pem};
use crate::{
    cli::{
        moment::{exact, relative},
        output::{Fields, Look, View, some},
    },
    svid::x509,
};
use anyhow::{Context as _, ensure};
use serde::Serialize;
use std::collections::BTreeMap;
use symbolon_proto::workload::{X509svid, X509svidResponse};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

/// All X.509-SVIDs of an answer; `agent/doc/cli.md` documents the fields.
#[derive(Debug, Serialize)]
pub(super) struct SvidList {
    pub(super) svids: Vec<SvidView>,
    /// Foreign trust domain -> its bundle, PEM.
    federated_bundles: BTreeMap<String, String>,
    /// Where the files were written.
    pub(super) written_to: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct SvidView {
    spiffe_id: String,
    hint: Option<String>,
    serial: String,
    not_before: Option<String>,
    not_after: Option<String>,
    dns_names: Vec<String>,
    /// The chain, the leaf first, PEM.
    certificates: String,
    /// The trust domain's bundle, PEM.
    bundle: String,
    #[serde(skip)]
    expires: i64,
}

impl SvidList {
    pub(super) fn of(answer: &X509svidResponse) -> anyhow::Result<Self> {
        let bundle = |(domain, der): (&String, _)| Ok((domain.clone(), pem::certificates(der)?));
        Ok(Self {
            svids: answer
                .svids
                .iter()
                .map(SvidView::of)
                .collect::<Result<_, _>>()?,
            federated_bundles: answer
                .federated_bundles
                .iter()
                .map(|(domain, der)| bundle((domain, der.as_ref())))
                .collect::<anyhow::Result<_>>()?,
            written_to: None,
        })
    }
}

impl SvidView {
    fn of(svid: &X509svid) -> anyhow::Result<Self> {
        let leaf = leaf(svid)?;
        Ok(Self {
            spiffe_id: svid.spiffe_id.clone(),
            hint: some(svid.hint.clone()),
            serial: x509::serial_hex(&leaf),
            not_before: exact(leaf.validity().not_before.timestamp()),
            not_after: exact(leaf.validity().not_after.timestamp()),
            dns_names: dns_names(&leaf),
            certificates: pem::certificates(&svid.x509_svid)?,
            bundle: pem::certificates(&svid.bundle)?,
            expires: leaf.validity().not_after.timestamp(),
        })
    }
}

fn leaf(svid: &X509svid) -> anyhow::Result<X509Certificate<'_>> {
    let (_, leaf) = X509Certificate::from_der(&svid.x509_svid)
        .context("the agent sent a malformed certificate")?;
    Ok(leaf)
}

fn dns_names(leaf: &X509Certificate<'_>) -> Vec<String> {
    let names = leaf.subject_alternative_name().ok().flatten();
    names
        .iter()
        .flat_map(|names| &names.value.general_names)
        .filter_map(|name| match name {
            x509_parser::extensions::GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        })
        .collect()
}

impl View for SvidList {
    fn table(&self, look: &Look) -> String {
        let mut out = String::new();
        for svid in &self.svids {
            let mut fields = Fields::new();
            fields.add("SPIFFE ID", &svid.spiffe_id);
            fields.add("Hint", svid.hint.as_deref().unwrap_or_default());
            fields.add("Serial", &svid.serial);
            fields.add("Expires", relative(svid.expires, look.now));
            fields.list("DNS names", &svid.dns_names);
            out.push_str(&fields.render());
        }
        let mut fields = Fields::new();
        for domain in self.federated_bundles.keys() {
            fields.add("Federated", domain);
        }
        fields.add("Written to", self.written_to.as_deref().unwrap_or_default());
        out.push_str(&fields.render());
        out
    }
}

/// The files of one SVID.
///
/// # Errors
/// Where the key does not fit the certificate, or either cannot be read.
pub(super) fn files(svid: &X509svid) -> anyhow::Result<FileSet> {
    let key = rcgen::KeyPair::try_from(svid.x509_svid_key.as_ref())
        .context("the agent sent a malformed private key")?;
    let public = rcgen::PublicKeyData::subject_public_key_info(&key);
    ensure!(
        leaf(svid)?.public_key().raw == public.as_slice(),
        "the agent sent a private key that does not fit the certificate: nothing was written"
    );
    Ok(FileSet {
        svid: pem::certificates(&svid.x509_svid)?,
        key: pem::block("PRIVATE KEY", &svid.x509_svid_key),
        bundle: pem::certificates(&svid.bundle)?,
    })
}
