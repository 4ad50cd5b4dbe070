//! `rbuild`: a Dockerfile becomes an OCI image.

use std::process::ExitCode;

fn main() -> ExitCode {
    match builder::program::run(std::env::args_os()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            builder::program::report(&error);
            ExitCode::FAILURE
        }
    }
}
