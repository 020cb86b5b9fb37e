//! `symbolon svid x509`.

use super::{
    document::{self, SvidList},
    files::SvidDirectory,
    notify::NotifyArgs,
    watch::Watch,
};
use crate::cli::{
    console::Console,
    failure::{Exit, Failure},
    socket::Link,
};
use clap::Args;
use std::path::PathBuf;
use symbolon_proto::workload::{X509svid, X509svidRequest, X509svidResponse};
use tonic::Status;

/// Fetch X.509-SVIDs, show them and write them to files
///
/// Without --write only the certificates are shown, never the key.
///
/// With --write, DIR gets svid.pem (the chain, leaf first), key.pem (PKCS#8,
/// mode 0600) and bundle.pem (the trust domain's authorities). They are links
/// through DIR/current, which is replaced in one step once all three files of
/// a renewal are on disk. A program that reads the files through one resolved
/// DIR/current, or when it is told by --exec or --signal, never sees a key with
/// another certificate; the files before stay in place until the next renewal.
///
/// With --watch the command stays, repeats this at each renewal and outlives a
/// restart of the agent. It ends with code 3 when the identity is withdrawn;
/// the files stay then, and expire.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  symbolon svid x509
  symbolon svid x509 --write /run/app/svid
  symbolon svid x509 --watch --write /run/nginx/svid --signal HUP --pid-file /run/nginx.pid
  symbolon svid x509 --watch --write ./svid --exec 'systemctl reload app'")]
pub(super) struct X509Args {
    /// Write the files to this directory, replaced as a set
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,
    /// Stay and repeat at each renewal
    #[arg(long)]
    watch: bool,
    /// Only this identity; by default --write takes the first
    #[arg(long, value_name = "ID")]
    spiffe_id: Option<String>,
    /// Only the identity with this hint
    #[arg(long)]
    hint: Option<String>,
    #[command(flatten)]
    notify: NotifyArgs,
}

impl X509Args {
    pub(super) async fn run(self, link: &Link, console: &mut Console) -> Result<(), Failure> {
        let directory = self.write.as_deref().map(SvidDirectory::open).transpose()?;
        if self.watch {
            let mut watch = Watch::open(link.clone()).await?;
            loop {
                let answer = watch.next(console).await?;
                self.take(answer, directory.as_ref(), console).await?;
            }
        }
        let answer = fetch(link).await?;
        self.take(answer, directory.as_ref(), console).await
    }

    /// Writes, shows and tells one answer.
    async fn take(
        &self,
        mut answer: X509svidResponse,
        directory: Option<&SvidDirectory>,
        console: &mut Console,
    ) -> Result<(), Failure> {
        self.select(&mut answer.svids)?;
        let mut list = SvidList::of(&answer)?;
        if let (Some(directory), Some(svid)) = (directory, answer.svids.first()) {
            directory.replace(&document::files(svid)?)?;
            list.written_to = Some(directory.path().display().to_string());
        }
        if self.watch {
            console.show_next(&list)?;
        } else {
            console.show(&list)?;
        }
        if let Some(directory) = directory
            && let Err(error) = self.notify.run(directory.path()).await
        {
            if !self.watch {
                return Err(error.into());
            }
            // The files are good, and the next renewal may be told in vain or not.
            console.tell(&crate::cli::output::printable(&format!("{error:#}")));
        }
        Ok(())
    }

    /// Keeps what --spiffe-id and --hint ask for.
    fn select(&self, svids: &mut Vec<X509svid>) -> Result<(), Failure> {
        let offered: Vec<String> = svids.iter().map(|svid| svid.spiffe_id.clone()).collect();
        svids.retain(|svid| {
            self.spiffe_id
                .as_ref()
                .is_none_or(|id| *id == svid.spiffe_id)
                && self.hint.as_ref().is_none_or(|hint| *hint == svid.hint)
        });
        if svids.is_empty() {
            return Err(Failure::new(
                Exit::NotFound,
                "no identity of this process is the one asked for",
            )
            .advise(format!("It has: {}.", offered.join(", "))));
        }
        Ok(())
    }
}

async fn fetch(link: &Link) -> Result<X509svidResponse, Failure> {
    let mut client = link.workload().await?;
    link.within(async {
        let mut stream = client
            .fetch_x509svid(X509svidRequest {})
            .await?
            .into_inner();
        stream
            .message()
            .await?
            .ok_or_else(|| Status::unavailable("the stream ended"))
    })
    .await
}
