//! Prints the Rust declarations of `moeq.h`: `moeq-generate PATH/moeq.h`.
//! Needs libclang (environment variable LIBCLANG_PATH where it is not in a usual place).

use std::process::ExitCode;

use bindgen::callbacks::ParseCallbacks;
use bindgen::{Builder, Formatter, MacroTypeVariation, RustEdition, RustTarget};

const HEAD: &str = "\
// Rust declarations of include/moeq.h. Generated, do not edit: python3 tools/gen_rust_bindings.py --update";

/// Comments of the header become documentation; its section rules would land on whatever comes next.
#[derive(Debug)]
struct Comments;

impl ParseCallbacks for Comments {
    fn process_comment(&self, comment: &str) -> Option<String> {
        if comment.trim_start().starts_with("----") {
            return Some(String::new());
        }
        let lines: Vec<String> = comment.lines().map(|line| format!(" {}", line.trim())).collect();
        Some(lines.join("\n"))
    }
}

fn generate(header: &str) -> Result<String, Box<dyn std::error::Error>> {
    let bindings = Builder::default()
        .header(header)
        // One target for every machine: the layout is the same wherever pointers have 64 bits.
        .clang_args(["--target=x86_64-unknown-linux-gnu", "-std=c11", "-fparse-all-comments"])
        .allowlist_function("moeq_.*")
        .allowlist_type("moeq_.*")
        .allowlist_var("MOEQ_.*")
        // DLPack's structs are written out in src/dlpack.rs: the header only names them.
        .blocklist_type("DLManagedTensor(Versioned)?")
        .raw_line(HEAD)
        .raw_line("")
        .raw_line("use crate::dlpack::{DLManagedTensor, DLManagedTensorVersioned};")
        // Constants travel as int32_t, whatever their value.
        .default_macro_constant_type(MacroTypeVariation::Signed)
        .fit_macro_constants(false)
        // In every field zero is the default, so `..Default::default()` is all that an option struct needs.
        .derive_default(true)
        .derive_debug(true)
        .layout_tests(true)
        .use_core()
        .merge_extern_blocks(true)
        .disable_header_comment()
        .parse_callbacks(Box::new(Comments))
        .rust_target(RustTarget::stable(77, 0).map_err(|error| error.to_string())?)
        .rust_edition(RustEdition::Edition2021)
        .formatter(Formatter::Prettyplease)
        .generate()?;
    Ok(bindings.to_string())
}

fn main() -> ExitCode {
    let Some(header) = std::env::args().nth(1) else {
        eprintln!("usage: moeq-generate PATH/moeq.h");
        return ExitCode::from(2);
    };
    match generate(&header) {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("moeq-generate: {header}: {error}");
            ExitCode::FAILURE
        }
    }
}
