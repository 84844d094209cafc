//! `zblob completions`: scripts that let a shell complete verbs, options and values.

use clap::{Args, Command};
use clap_complete::Shell;

use super::{Console, Failure, Program};

const EXAMPLES: &str = "\
Examples:
  source <(zblob completions bash)            in ~/.bashrc, or the same with zsh in ~/.zshrc
  zblob completions fish | source             in ~/.config/fish/config.fish
  zblob completions zsh zput > DIR/_zput      one program, in a directory of $fpath";

/// Prints a script that completes zblob, zput and zget in a shell
#[derive(Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    /// Shell that reads the script
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,

    /// Program to complete [default: all three]
    #[arg(value_enum, value_name = "PROGRAM")]
    program: Option<Program>,
}

/// Runs the command; `command` defines each program.
///
/// # Errors
/// When stdout cannot be written.
pub fn run(
    arguments: Arguments,
    command: fn(Program) -> Command,
    console: &Console,
) -> Result<(), Failure> {
    let programs = arguments.program.map_or(Program::ALL.to_vec(), |program| vec![program]);
    Ok(console.print_with_end(&script(arguments.shell, &programs, command), "")?)
}

/// The line that PowerShell accepts only before all others.
const POWERSHELL_IMPORT: &str = "using namespace ";

fn script(shell: Shell, programs: &[Program], command: fn(Program) -> Command) -> String {
    let mut text = String::new();
    for program in programs {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut command(*program), program.name(), &mut script);
        let script = String::from_utf8_lossy(&script);
        let is_first = text.is_empty();
        let lines = script.lines().filter(|line| is_first || !line.starts_with(POWERSHELL_IMPORT));
        lines.for_each(|line| text.extend([line, "\n"]));
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn powershell_script_imports_before_all_else() {
        let text = script(Shell::PowerShell, &Program::ALL, Program::command);
        let imports = |line: &&str| line.starts_with(POWERSHELL_IMPORT);
        let before: Vec<&str> =
            text.lines().take_while(|line| line.is_empty() || imports(line)).collect();
        assert_eq!(
            before.iter().filter(|line| imports(line)).count(),
            text.lines().filter(imports).count()
        );
    }

    #[test]
    fn script_of_each_shell_has_each_program() {
        for shell in Shell::value_variants() {
            let text = script(*shell, &Program::ALL, Program::command);
            for program in Program::ALL {
                assert!(text.contains(program.name()), "{shell}: {}", program.name());
            }
        }
    }
}
