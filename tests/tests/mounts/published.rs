//! A publisher's machine, and what it offers.

use std::{fs, path::PathBuf};

use tempfile::TempDir;
use zput_tests::{Configured, Machine, Pattern, WebClient};

/// Plaintexts of what the publisher seals, by name: nothing, a little, and two parts.
pub(crate) const ARTIFACTS: [(&str, u64); 3] =
    [("images/app.img", 20_000_000), ("notes", 11), ("deep/er/empty", 0)];

/// A publisher's machine, a tree of what it sealed, and that tree as an archive.
pub(crate) struct Published {
    pub(crate) publisher: Machine,
    pub(crate) dir: TempDir,
}

impl Published {
    /// Seals the artifacts into a tree, each at its name: with clear names that is its object key.
    pub(crate) fn new() -> Self {
        let publisher = Machine::new();
        let _made = publisher.run("zblob key", ["new", "--names", "clear"]).ok();
        let published = Self { publisher, dir: tempfile::tempdir().unwrap() };
        fs::create_dir(published.at("tree")).unwrap();
        for (name, length) in ARTIFACTS {
            published.seal(name, &plain(name, length));
        }
        published.pack("pack.tar");
        published
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.at("tree").join(name)
    }

    /// Seals `bytes` to where the tree has `name`, replacing what is there.
    pub(crate) fn seal(&self, name: &str, bytes: &[u8]) {
        self.publisher.write("artifact", bytes);
        let tree = self.at("tree");
        let arguments = ["--force", "--name", name, "artifact", "--into", tree.to_str().unwrap()];
        let _sealed = self.publisher.run("zblob seal", arguments).ok();
    }

    /// The tree as an archive, put to its place by a rename.
    pub(crate) fn pack(&self, name: &str) {
        let mut archive = tar::Builder::new(Vec::new());
        archive.append_dir_all("release-1", self.at("tree")).unwrap();
        self.install(name, &archive.into_inner().unwrap());
    }

    pub(crate) fn install(&self, name: &str, bytes: &[u8]) {
        fs::write(self.at("new"), bytes).unwrap();
        fs::rename(self.at("new"), self.at(name)).unwrap();
    }

    /// All three kinds of mounts, the tree a second time for members only.
    pub(crate) fn config(&self) -> String {
        format!(
            "{}[[mount]]\nprefix = \"members\"\ndir = {:?}\n",
            self.config_without_members(),
            self.at("tree")
        )
    }

    pub(crate) fn config_without_members(&self) -> String {
        format!(
            "[[mount]]\nstore = {:?}\n\
             [[mount]]\nprefix = \"tree\"\ndir = {:?}\npublic = true\n\
             [[mount]]\nprefix = \"pack\"\ntar = {:?}\nstrip_prefix = \"release-1\"\npublic = true\n",
            self.at("store"),
            self.at("tree"),
            self.at("pack.tar")
        )
    }

    /// A machine of the fleet: it can open, reads in clear, and has no account.
    pub(crate) fn reader(&self, server: &Configured, mount: &str) -> Machine {
        let reader = Machine::new();
        let _exported = self
            .publisher
            .run("zblob key", ["export", "--get-only", "--force", "-o", "fleet"])
            .ok();
        fs::create_dir_all(reader.key_file().parent().unwrap()).unwrap();
        fs::copy(self.publisher.file("fleet"), reader.key_file()).unwrap();
        reader.set_key_field("mode", "plaintext");
        turn(&reader, server, mount);
        reader
    }
}

pub(crate) fn plain(name: &str, length: u64) -> Vec<u8> {
    Pattern::bytes(name.len() as u64, length)
}

pub(crate) fn turn(home: &Machine, server: &Configured, mount: &str) {
    home.turn_to(&format!("zput://{}/{mount}", server.zput()));
}

/// Whether `home` reads all artifacts and lists them.
pub(crate) fn assert_reads(home: &Machine, what: &str) {
    for (name, length) in ARTIFACTS {
        let got = home.run("zget", ["-o", "-", name]).ok();
        assert!(got.stdout == plain(name, length), "{name} from {what}");
    }
    let part = home.run("zget", ["-o", "-", "--range", "17000000-17000099", "images/app.img"]).ok();
    assert_eq!(part.stdout, &plain("images/app.img", 20_000_000)[17_000_000..17_000_100]);
    let listed = home.run("zblob ls", [] as [&str; 0]).ok();
    assert_eq!(listed.text(), "deep/er/empty\nimages/app.img\nnotes\n", "{what}");
    assert_eq!(home.run("zblob ls", ["images/"]).ok().text(), "images/app.img\n", "{what}");
    let absent = home.run("zget", ["-o", "-", "images"]).ended(4);
    assert!(absent.stdout.is_empty(), "a directory is no blob, {what}");
}

/// What a GET of `path` is answered with.
pub(crate) fn status(server: &Configured, path: &str) -> u16 {
    WebClient::connect(server.http()).unwrap().get(path).unwrap().status
}
