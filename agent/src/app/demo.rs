//! `symbolon demo`: the main job in a temporary directory, as whatever user.
//!
//! Everything is real: an agent of its own (this binary, with lowered lifetimes),
//! a program that it attests (a copy of this binary under another name), and
//! the commands that an operator would type. Each step prints what happens and
//! how long it took; the first that does not hold ends the demo with exit
//! code 1. Children are stopped by their handles, and the directory is removed.

mod scene;
mod steps;

use crate::cli::DemoArgs;
use scene::Scene;
use std::process::ExitCode;

/// Why the demo did not hold.
type DemoError = anyhow::Error;

/// Runs `symbolon demo`.
#[must_use]
pub fn run_demo(args: DemoArgs) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let played = match runtime {
        Ok(runtime) => runtime.block_on(play(args.keep)),
        Err(error) => Err(error.into()),
    };
    match played {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            scene::say(&format!("\nThe demo did not hold: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn play(keep: bool) -> Result<(), DemoError> {
    let mut scene = Scene::new()?;
    let played = steps::all(&mut scene).await;
    if played.is_err() {
        scene.show_log();
    }
    played?;
    scene::say("\nEvery step held.");
    if keep {
        scene.stay().await?;
    }
    scene.end().await
}
