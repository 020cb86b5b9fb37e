//! Syntax of `container:` and `k8s:` selectors.

use super::{SelectorError, is_path};
use crate::parse::container::is_id;

const NAME: &str = "a name without colon";
const LABEL: &str = "a label's name without colon, a colon and its value";
const DIGEST: &str = "sha256: and 64 lower-case hexadecimal digits";

pub(super) fn check(value: &str) -> Result<(), SelectorError> {
    let (key, value) = value.split_once(':').unwrap_or((value, ""));
    let (key, expected, fits) = match key {
        "runtime" => (
            "container:runtime",
            "docker, podman, containerd or cri-o",
            matches!(value, "docker" | "podman" | "containerd" | "cri-o"),
        ),
        "id" => (
            "container:id",
            "64 lower-case hexadecimal digits",
            is_id(value),
        ),
        "image_id" => ("container:image_id", DIGEST, is_image(value)),
        "image_digest" => ("container:image_digest", DIGEST, is_image(value)),
        "name" => ("container:name", NAME, is_name(value)),
        "label" => ("container:label", LABEL, is_label(value)),
        "path" => (
            "container:path",
            "an absolute path without empty, . or .. parts",
            is_path(value) && value != "/",
        ),
        key => {
            return Err(SelectorError::Key {
                kind: "container",
                key: key.into(),
            });
        }
    };
    verdict(key, expected, fits)
}

/// Texts equal SPIRE's; also those that the container runtime cannot tell.
pub(super) fn check_k8s(value: &str) -> Result<(), SelectorError> {
    let (key, value) = value.split_once(':').unwrap_or((value, ""));
    let (key, expected, fits) = match key {
        "ns" => ("k8s:ns", NAME, is_name(value)),
        "sa" => ("k8s:sa", NAME, is_name(value)),
        "node-name" => ("k8s:node-name", NAME, is_name(value)),
        "pod-name" => ("k8s:pod-name", NAME, is_name(value)),
        "pod-uid" => ("k8s:pod-uid", NAME, is_name(value)),
        "container-name" => ("k8s:container-name", NAME, is_name(value)),
        "pod-label" => ("k8s:pod-label", LABEL, is_label(value)),
        "pod-owner" => ("k8s:pod-owner", LABEL, is_label(value)),
        "pod-owner-uid" => ("k8s:pod-owner-uid", LABEL, is_label(value)),
        "container-image" => ("k8s:container-image", "an image", !value.is_empty()),
        "pod-image" => ("k8s:pod-image", "an image", !value.is_empty()),
        "pod-init-image" => ("k8s:pod-init-image", "an image", !value.is_empty()),
        "pod-image-count" => ("k8s:pod-image-count", "a number", is_count(value)),
        "pod-init-image-count" => ("k8s:pod-init-image-count", "a number", is_count(value)),
        key => {
            return Err(SelectorError::Key {
                kind: "k8s",
                key: key.into(),
            });
        }
    };
    verdict(key, expected, fits)
}

const fn verdict(
    key: &'static str,
    expected: &'static str,
    fits: bool,
) -> Result<(), SelectorError> {
    if fits {
        Ok(())
    } else {
        Err(SelectorError::Value { key, expected })
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && !text.contains([':', '/'])
}

fn is_image(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(is_id)
}

fn is_label(text: &str) -> bool {
    text.split_once(':')
        .is_some_and(|(name, _)| !name.is_empty())
}

fn is_count(text: &str) -> bool {
    text.parse::<u32>()
        .is_ok_and(|number| number.to_string() == text)
}
