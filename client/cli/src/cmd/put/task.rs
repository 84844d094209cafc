//! Which files to put under which names.

use std::{
    collections::{HashMap, hash_map::Entry},
    ffi::OsString,
    path::{Path, PathBuf},
};

use zput::cli::NamedFile;
use zput_proto::name::BlobName;

use super::super::{Context, Failure, usage};

/// What the command line says about what to put.
#[derive(Debug)]
pub(super) struct TaskArguments<'a> {
    pub(super) files: Vec<PathBuf>,
    /// What follows `--`.
    pub(super) trailing: Vec<OsString>,
    pub(super) name: Option<&'a str>,
    pub(super) prefix: Option<&'a str>,
    pub(super) exec: bool,
    pub(super) resume: bool,
}

/// What to put.
#[derive(Debug)]
pub(super) enum Task {
    /// At least one: a file with its name, or the reason why it has none.
    Files(Vec<Result<NamedFile, Failure>>),
    Stdin {
        name: BlobName,
    },
    Command {
        command: OsString,
        arguments: Vec<OsString>,
        name: BlobName,
    },
}

/// Reads the task from the arguments. Of two files with the same name the first gets it.
pub(super) fn parse_task(arguments: TaskArguments<'_>) -> Result<Task, Failure> {
    let TaskArguments { mut files, mut trailing, name, prefix, exec, resume } = arguments;
    let given_name = name.map(BlobName::parse).transpose().context("--name")?;
    if exec {
        let Some(name) = given_name else { return Err(usage("--exec needs --name")) };
        if !files.is_empty() {
            return Err(usage("--exec takes a command behind `--`, and no files"));
        }
        if trailing.is_empty() {
            return Err(usage(
                "--exec needs a command: zput --exec --name NAME -- COMMAND ARGUMENTS",
            ));
        }
        let command = trailing.remove(0);
        return Ok(Task::Command { command, arguments: trailing, name });
    }
    // Without --exec, `--` only marks the end of the options.
    files.extend(trailing.into_iter().map(PathBuf::from));
    if files.is_empty() {
        return Err(usage("nothing to store: name a file, or `-` for stdin (zput --help)"));
    }
    if given_name.is_some() && files.len() > 1 {
        return Err(usage("--name is for one file; --prefix is for several"));
    }
    if files.iter().any(|path| path.as_os_str() == "-") {
        let Some(name) = given_name else {
            return Err(usage("stdin has no name: zput --name NAME -"));
        };
        if resume {
            return Err(usage("stdin cannot be resumed: --resume is for files"));
        }
        return Ok(Task::Stdin { name });
    }
    if let Some(prefix) = prefix {
        BlobName::parse(prefix.strip_suffix('/').unwrap_or(prefix)).context("--prefix")?;
    }
    let mut taken = HashMap::new();
    let mut named = |path: PathBuf| {
        if path.as_os_str().is_empty() {
            return Err(usage("'': an empty argument names no file"));
        }
        let name = match &given_name {
            Some(name) => name.clone(),
            None => name_of(&path, prefix)?,
        };
        match taken.entry(name.clone()) {
            Entry::Vacant(entry) => drop(entry.insert(path.clone())),
            Entry::Occupied(entry) => {
                let (path, first) = (path.display(), entry.get().display());
                return Err(usage(format!(
                    "{path} would be stored as {name}, as {first} is (give it another name by --name \
                     or --prefix)"
                )));
            }
        }
        Ok(NamedFile { name, path })
    };
    Ok(Task::Files(files.into_iter().map(&mut named).collect()))
}

/// The last component of `path`, after `prefix`.
fn name_of(path: &Path, prefix: Option<&str>) -> Result<BlobName, Failure> {
    let Some(last) = path.file_name() else {
        return Err(usage(format!("{} has no name: give one by --name", path.display())));
    };
    let Some(last) = last.to_str() else {
        return Err(usage(format!("{} is not UTF-8: give a name by --name", path.display())));
    };
    let name = match prefix {
        Some(prefix) => format!("{}/{last}", prefix.strip_suffix('/').unwrap_or(prefix)),
        None => last.to_owned(),
    };
    BlobName::parse(&name).context(path.display())
}

#[cfg(test)]
mod tests {
    use super::{super::Arguments, *};
    use crate::cmd::parse_arguments;

    fn names(line: &[&str]) -> Result<Vec<String>, String> {
        let mut arguments =
            parse_arguments::<Arguments>(line).map_err(|error| error.kind().to_string())?;
        let names =
            match parse_task(arguments.task_arguments()).map_err(|failure| failure.to_string())? {
                Task::Files(mut files) if files.len() == 1 => match files.remove(0) {
                    Ok(file) => vec![file.name.to_string()],
                    Err(failure) => return Err(failure.to_string()),
                },
                Task::Files(files) => {
                    let name = |file: Result<NamedFile, Failure>| match file {
                        Ok(file) => file.name.to_string(),
                        Err(failure) => format!("error: {failure}"),
                    };
                    files.into_iter().map(name).collect()
                }
                Task::Stdin { name } | Task::Command { name, .. } => vec![name.to_string()],
            };
        Ok(names)
    }

    /// The name of a put file is the prefix and the last component of its path, or --name.
    #[test]
    fn zput_names_are_prefix_and_last_component() {
        assert_eq!(names(&["zput", "/a/b.txt", "c"]).unwrap(), ["b.txt", "c"]);
        assert_eq!(names(&["zput", "--prefix", "x/y", "a/b"]).unwrap(), ["x/y/b"]);
        assert_eq!(names(&["zput", "--prefix", "x/", "a/b"]).unwrap(), ["x/b"]);
        assert_eq!(names(&["zput", "--name", "n/m", "a/b"]).unwrap(), ["n/m"]);
        assert_eq!(names(&["zput", "--name", "n", "-"]).unwrap(), ["n"]);
        assert_eq!(names(&["zput", "--", "-x"]).unwrap(), ["-x"]);
        assert_eq!(names(&["zput", "--exec", "--name", "n", "--", "ls", "-l"]).unwrap(), ["n"]);
    }

    /// Arguments of zput that conflict, lack a name or hold a bad name are refused.
    #[test]
    fn zput_refuses_senseless_argument_combinations() {
        for line in [
            &["zput"][..],
            &["zput", "-"],
            &["zput", "a", "-"],
            &["zput", "--name", "n", "a", "b"],
            &["zput", "--name", "../n", "a"],
            &["zput", "--name", "/n", "a"],
            &["zput", "--name", "a\nb", "a"],
            &["zput", "--name", "n", "--prefix", "p", "a"],
            &["zput", "--prefix", "..", "a"],
            &["zput", "--prefix", "", "a"],
            &["zput", ".."],
            &["zput", "/"],
            &["zput", "--exec", "--", "ls"],
            &["zput", "--exec", "--name", "n"],
            &["zput", "--exec", "--name", "n", "a", "--", "ls"],
            &["zput", "--suite", "rot13", "a"],
            &["zput", "--plaintext", "--sha256", "a"],
        ] {
            assert!(names(line).is_err(), "{line:?}");
        }
    }

    /// A bad or doubled name among several files is an error of that file alone.
    #[test]
    fn zput_task_reports_bad_names_per_file() {
        let long = format!("/x/{}", "n".repeat(1000));
        let prefix = "p".repeat(1000);
        for (line, expected) in [
            (
                &["zput", "x/a", "y/a", "b"][..],
                &[
                    "a",
                    "error: y/a would be stored as a, as x/a is (give it another name by --name \
                    or --prefix)",
                    "b",
                ][..],
            ),
            (&["zput", "a", "..", "b"], &["a", "error: .. has no name: give one by --name", "b"]),
        ] {
            assert_eq!(names(line).unwrap(), expected);
        }
        let found = names(&["zput", "--prefix", &prefix, "a", &long, "b"]).unwrap();
        assert!(found[1].starts_with("error: ") && !found[0].starts_with("error"), "{found:?}");
        assert_eq!(found[2], format!("{prefix}/b"));
    }
}
