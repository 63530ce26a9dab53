//! Writes the ECS API types of `longshore-ecs-api` from the service model that AWS publishes with botocore.
//!
//! It owns `src/generated/`; nothing there is edited by hand. It reads one `service-2.json` (plain or `.gz`), takes
//! names, types, required members and sensitivity from it, and none of its prose. It never runs as part of a build.

mod emit;
mod model;
mod names;

use anyhow::{Context, bail};
use clap::Parser;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Generates the ECS API types from botocore's service model.
///
/// The model is `botocore/data/ecs/2014-11-13/service-2.json.gz` of the package `botocore` on PyPI.
#[derive(Parser)]
struct Args {
    /// The model: `service-2.json`, or `service-2.json.gz` (read through `gzip`).
    model: PathBuf,
    /// The directory to write; every `.rs` file in it is replaced.
    #[arg(long, default_value = "control-plane/ecs-api/src/generated")]
    out: PathBuf,
    /// Where the model comes from, for the files' header, for example `botocore 1.44.5`.
    #[arg(long)]
    source: String,
    /// Write nothing; fail when the directory differs from what would be written.
    #[arg(long)]
    check: bool,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let model =
        model::Model::parse(&read(&args.model)?).with_context(|| format!("reading {}", args.model.display()))?;
    let mut differing = Vec::new();
    for (name, text) in emit::files(&model, &args.source)? {
        let text = format(&text).with_context(|| format!("formatting {name}"))?;
        let path = args.out.join(&name);
        if args.check {
            if std::fs::read_to_string(&path).ok().as_deref() != Some(text.as_str()) {
                differing.push(name);
            }
        } else {
            std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        }
    }
    if !differing.is_empty() {
        bail!("{} differ from the model; run the generator without --check", differing.join(", "));
    }
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<String> {
    if path.extension().is_some_and(|e| e == "gz") {
        let out = Command::new("gzip").arg("-dc").arg(path).output().context("running gzip")?;
        if !out.status.success() {
            bail!("gzip could not read {}: {}", path.display(), String::from_utf8_lossy(&out.stderr).trim());
        }
        return String::from_utf8(out.stdout).context("the model is not UTF-8");
    }
    std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}

/// Formats as `cargo fmt` does in this workspace, so that the committed files stay as they were written.
fn format(text: &str) -> anyhow::Result<String> {
    let mut child = Command::new("rustfmt")
        .args(["--edition", "2024", "--config", "max_width=120,use_small_heuristics=Max"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("running rustfmt")?;
    let mut stdin = child.stdin.take().context("rustfmt has no standard input")?;
    let text = text.to_owned();
    let writer = std::thread::spawn(move || std::io::Write::write_all(&mut stdin, text.as_bytes()));
    let out = child.wait_with_output().context("waiting for rustfmt")?;
    writer.join().expect("the writer does not panic").context("writing to rustfmt")?;
    if !out.status.success() {
        bail!("rustfmt refused the text");
    }
    String::from_utf8(out.stdout).context("rustfmt's answer is not UTF-8")
}
