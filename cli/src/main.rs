//! `ouroctl`: inspects and drives the fleet. Everything is in the library; here are only the process's edges.

use ouro_cli::{Console, run};
use std::process::ExitCode;

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            Console::of_process().note(&format!("error: the process cannot start its event loop: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let variable = |name: &str| std::env::var(name).ok();
    let exit = runtime.block_on(run(std::env::args_os().collect(), &variable, &mut Console::of_process()));
    // A read of standard input that nobody waits for any more must not hold the process.
    runtime.shutdown_background();
    ExitCode::from(exit.code())
}
