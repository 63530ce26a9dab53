//! GPUs, by what NVIDIA's driver shows in `/proc`. The driver's library is not needed and not loaded.

use std::fs;
use std::path::Path;

const NVIDIA: &str = "/proc/driver/nvidia/gpus";

/// The ids of the GPUs of this host, in the order of their PCI addresses; none without the driver.
pub(super) fn ids() -> Vec<String> {
    ids_below(Path::new(NVIDIA))
}

fn ids_below(root: &Path) -> Vec<String> {
    let mut directories: Vec<_> =
        fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    directories.sort();
    let information = |d: &std::path::PathBuf| fs::read_to_string(d.join("information")).ok();
    directories.iter().filter_map(information).filter_map(|text| uuid_in(&text)).collect()
}

/// A line such as `GPU UUID: \t GPU-2f3e…`.
fn uuid_in(text: &str) -> Option<String> {
    let line = text.lines().find_map(|line| line.strip_prefix("GPU UUID:"))?;
    let id = line.trim();
    // The driver shows question marks before the GPU is initialised.
    (!id.is_empty() && !id.contains('?')).then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_are_read_in_order_and_unready_ones_left_out() {
        let root = tempfile::tempdir().expect("a temporary directory");
        for (address, id) in [("0000:02:00.0", "GPU-b"), ("0000:01:00.0", "GPU-a"), ("0000:03:00.0", "GPU-????")] {
            let directory = root.path().join(address);
            fs::create_dir(&directory).expect("made");
            let text = format!("Model: \t\t T4\nGPU UUID: \t {id}\nBus Type: \t PCIe\n");
            fs::write(directory.join("information"), text).expect("written");
        }
        assert_eq!(ids_below(root.path()), ["GPU-a", "GPU-b"]);
        assert!(ids_below(Path::new("/nonexistent")).is_empty());
    }
}
