//! Finds libmoeq: first in the folder that MOEQ_LIB_DIR names, then through pkg-config.

use std::env;
use std::path::{Path, PathBuf};
use std::process::exit;

const LIBRARY: &str = if cfg!(target_os = "macos") { "libmoeq.dylib" } else { "libmoeq.so" };

/// The folder and the include folder, or one sentence on why this way led nowhere.
type Found = Result<(PathBuf, Option<PathBuf>), String>;

fn from_environment() -> Found {
    let Some(dir) = env::var_os("MOEQ_LIB_DIR") else {
        return Err("MOEQ_LIB_DIR is not set".into());
    };
    let dir = PathBuf::from(dir);
    // Cargo runs this program in the crate's folder, so a relative path would mean something else than the caller thinks.
    if !dir.is_absolute() {
        return Err(format!("MOEQ_LIB_DIR is \"{}\": it has to be an absolute path", dir.display()));
    }
    if !dir.join(LIBRARY).exists() {
        return Err(format!("MOEQ_LIB_DIR is \"{}\": there is no {LIBRARY} in it", dir.display()));
    }
    println!("cargo::rerun-if-changed={}", dir.join(LIBRARY).display());
    println!("cargo::rustc-link-search=native={}", dir.display());
    println!("cargo::rustc-link-lib=dylib=moeq");
    let include = dir.parent().map(|prefix| prefix.join("include")).filter(|path| path.join("moeq.h").exists());
    Ok((dir, include))
}

fn from_pkg_config() -> Found {
    let wanted = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    match pkg_config::Config::new().atleast_version(&wanted).probe("moeq") {
        Ok(library) => match library.link_paths.first() {
            Some(dir) => Ok((dir.clone(), library.include_paths.first().cloned())),
            None => Ok((PathBuf::new(), library.include_paths.first().cloned())), // a folder that the linker knows
        },
        Err(error) => {
            let text = error.to_string();
            let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("no answer");
            Err(format!("pkg-config finds no moeq {wanted} or newer ({})", line.trim()))
        }
    }
}

fn announce(dir: &Path, include: Option<&Path>) {
    if !dir.as_os_str().is_empty() {
        println!("cargo::metadata=lib_dir={}", dir.display());
        // Only for this crate's own tests: a program decides itself where it looks for its libraries.
        println!("cargo::rustc-link-arg-tests=-Wl,-rpath,{}", dir.display());
    }
    if let Some(include) = include {
        println!("cargo::metadata=include={}", include.display());
    }
}

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=MOEQ_LIB_DIR");
    println!("cargo::rerun-if-env-changed=DOCS_RS");
    if env::var_os("DOCS_RS").is_some() {
        return; // documentation is made without linking
    }
    // A folder that was named but does not fit is an error, not a reason to take another library silently.
    let first = from_environment();
    let second = match &first {
        Ok(_) => None,
        Err(_) if env::var_os("MOEQ_LIB_DIR").is_some() => None,
        Err(_) => Some(from_pkg_config()),
    };
    match (first, second) {
        (Ok((dir, include)), _) | (_, Some(Ok((dir, include)))) => announce(&dir, include.as_deref()),
        (Err(first), second) => {
            eprintln!("moeq-sys does not find the library moeq:");
            eprintln!("  - {first}");
            if let Some(Err(second)) = second {
                eprintln!("  - {second}");
            }
            eprintln!(
                "Set MOEQ_LIB_DIR to the folder that holds {LIBRARY}, or PKG_CONFIG_PATH to the one with moeq.pc."
            );
            exit(1);
        }
    }
}
