//! The `stria` command.

fn main() -> std::process::ExitCode {
    stria::cli::main()
}
