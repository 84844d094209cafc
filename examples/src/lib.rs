//! Programs that show how zput is used: `quickstart` has server and client in one, `library` works
//! with a key file of yours. The scripts in `scripts/` do the same with the commands.
