//! Container images made of programs of this machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};
use tempfile::TempDir;

/// An image as an archive that Docker, Podman and containerd load (OCI image layout, with the
/// manifest of `docker save` beside it).
#[derive(Debug)]
pub struct Image {
    name: String,
    id: String,
    digest: String,
    archive: PathBuf,
    _directory: TempDir,
}

impl Image {
    /// An image called `name` (`localhost/x:1`) of the machine's static busybox as `/bin/busybox`,
    /// which sleeps unless told otherwise.
    #[must_use]
    pub fn of_busybox(name: &str) -> Self {
        let busybox = crate::Program::on_path("busybox");
        Self::of_programs(
            name,
            &[("bin/busybox", busybox.path())],
            &["/bin/busybox", "sleep", "100000"],
        )
    }

    /// An image of these programs: where each lies in the image, and where it comes from.
    #[must_use]
    pub fn of_programs(name: &str, programs: &[(&str, &Path)], command: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path().join("root");
        for place in ["proc", "sys", "dev", "tmp", "etc"] {
            fs::create_dir_all(root.join(place)).expect("a directory of the image");
        }
        for (place, source) in programs {
            let target = root.join(place);
            fs::create_dir_all(target.parent().expect("below the root")).expect("a directory");
            fs::copy(source, target).expect("a program of the image");
        }
        let layer = directory.path().join("layer.tar");
        tar(&root, &layer);
        Self::assemble(name, directory, &layer, command)
    }

    fn assemble(name: &str, directory: TempDir, layer: &Path, command: &[&str]) -> Self {
        let layout = directory.path().join("layout");
        let blobs = Blobs(layout.join("blobs/sha256"));
        fs::create_dir_all(&blobs.0).expect("a directory");
        let layer = fs::read(layer).expect("the layer");
        let (layer_digest, layer_size) = blobs.add(&layer);
        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            // Images of the same programs stay apart.
            "author": name,
            "config": { "Cmd": command, "Env": ["SECRET=not-to-be-read"], "Labels": { "image": "label" } },
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{layer_digest}")] },
        });
        let (config_digest, config_size) = blobs.add(config.to_string().as_bytes());
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": blob("image.config.v1+json", &config_digest, config_size),
            "layers": [blob("image.layer.v1.tar", &layer_digest, layer_size)],
        });
        let (digest, size) = blobs.add(manifest.to_string().as_bytes());
        let mut listed = blob("image.manifest.v1+json", &digest, size);
        listed["annotations"] = json!({ "io.containerd.image.name": name });
        let write = |file: &str, content: &Value| {
            fs::write(layout.join(file), content.to_string()).expect("a file of the layout");
        };
        write("oci-layout", &json!({ "imageLayoutVersion": "1.0.0" }));
        write(
            "index.json",
            &json!({ "schemaVersion": 2, "manifests": [listed] }),
        );
        write(
            "manifest.json",
            &json!([{
                "Config": format!("blobs/sha256/{config_digest}"),
                "RepoTags": [name],
                "Layers": [format!("blobs/sha256/{layer_digest}")],
            }]),
        );
        let archive = directory.path().join("image.tar");
        tar(&layout, &archive);
        Self {
            name: name.to_owned(),
            id: format!("sha256:{config_digest}"),
            digest: format!("sha256:{digest}"),
            archive,
            _directory: directory,
        }
    }

    /// `localhost/x:1`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name without its tag.
    #[must_use]
    pub fn repository(&self) -> &str {
        self.name
            .rsplit_once(':')
            .map_or(&self.name, |(name, _)| name)
    }

    /// `sha256:...` of its configuration.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// `sha256:...` of its manifest.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The archive.
    #[must_use]
    pub fn archive(&self) -> &Path {
        &self.archive
    }
}

struct Blobs(PathBuf);

impl Blobs {
    fn add(&self, content: &[u8]) -> (String, usize) {
        use std::fmt::Write as _;
        let mut name = String::new();
        for byte in digest(&SHA256, content).as_ref() {
            write!(name, "{byte:02x}").expect("writing to a string");
        }
        fs::write(self.0.join(&name), content).expect("a blob");
        (name, content.len())
    }
}

fn blob(kind: &str, digest: &str, size: usize) -> Value {
    json!({
        "mediaType": format!("application/vnd.oci.{kind}"),
        "digest": format!("sha256:{digest}"),
        "size": size,
    })
}

/// The same content makes the same archive.
fn tar(directory: &Path, archive: &Path) {
    let status = Command::new("tar")
        .args([
            "--sort=name",
            "--mtime=@0",
            "--owner=0",
            "--group=0",
            "--numeric-owner",
        ])
        .arg("-cf")
        .arg(archive)
        .arg("-C")
        .arg(directory)
        .arg(".")
        .status();
    assert!(status.expect("tar runs").success(), "{}", archive.display());
}
