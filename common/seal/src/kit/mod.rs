//! Recovery kits: an owner's root on paper (FORMAT 16).
//!
//! The kit of a vault is its newest root in 24 [`Words`], and one [`KitLine`] that is no secret.
//! From the two a program makes itself a device of role owner. The rest of the key file that was
//! lost is in the vault under its [`backup_name`], sealed by [`seal_keys`] for owners alone.
//!
//! ```text
//! words   line   the two halves of a kit
//! keys           the backup of an owner's key file
//! ```
//!
//! ```
//! use rand::{rand_core::UnwrapErr, rngs::SysRng};
//! use zput_seal::{
//!     keys::root::RootSecret,
//!     kit::{Kit, KitLine, Words, open_keys, seal_keys},
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let rng = &mut UnwrapErr(SysRng);
//! let root = RootSecret::generate(rng);
//! let backup = seal_keys(&root.kit_key(), "format = 2\n", rng)?;
//! let line = KitLine {
//!     root: 0,
//!     vault: root.signer().vault_id(),
//!     server_key: None,
//!     remote: Some("file:///srv/vault".parse()?),
//! };
//! let printed = Kit::new(Words::of(&root), line)?.to_secret_string();
//!
//! // On another machine, years later.
//! let kit = Kit::parse(&printed)?;
//! assert_eq!(*open_keys(&kit.words().root().kit_key(), &backup)?, "format = 2\n");
//! # Ok(())
//! # }
//! ```

use thiserror::Error;
use zeroize::Zeroizing;

mod keys;
mod line;
mod words;

pub use keys::{BackupError, backup_name, open_keys, seal_keys};
pub use line::{KitLine, KitLineError};
pub use words::{Words, WordsError};

/// Words and line of one vault.
#[derive(Clone, Debug)]
pub struct Kit {
    words: Words,
    line: KitLine,
}

/// Why a text is not a recovery kit.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KitError {
    /// The words are not those of a root.
    #[error("the words of the recovery kit")]
    Words(#[from] WordsError),
    /// The line is not one.
    #[error("the line of the recovery kit")]
    Line(#[from] KitLineError),
    /// The words are root 0 of one vault, and the line names another.
    #[error("the words and the line of the recovery kit are those of two vaults")]
    TwoVaults,
}

impl Kit {
    /// Puts words and line together.
    ///
    /// # Errors
    /// [`KitError::TwoVaults`] when the line says that the words are root 0, and they make another
    /// vault. Whether a later root is the vault's is for the charter to say.
    pub fn new(words: Words, line: KitLine) -> Result<Self, KitError> {
        if line.root == 0 && words.root().signer().vault_id() != line.vault {
            return Err(KitError::TwoVaults);
        }
        Ok(Self { words, line })
    }

    /// Reads words and, behind them, a line: the text of the QR code, or as a person types it.
    ///
    /// # Errors
    /// Says what is wrong with the line, with the words, or that the two do not belong together.
    pub fn parse(text: &str) -> Result<Self, KitError> {
        let text = text.trim_end();
        let (words, line) = text.rsplit_once(char::is_whitespace).unwrap_or(("", text));
        let line = line.parse()?;
        Self::new(Words::parse(words)?, line)
    }

    /// The words.
    #[must_use]
    pub const fn words(&self) -> &Words {
        &self.words
    }

    /// The line.
    #[must_use]
    pub const fn line(&self) -> &KitLine {
        &self.line
    }

    /// FORMAT 16, the QR code: "the words in lower case with one space between, LF, the line". It
    /// is the secret itself.
    #[must_use]
    pub fn to_secret_string(&self) -> Zeroizing<String> {
        let (words, line) = (self.words.to_secret_string(), self.line.to_string());
        let mut text = Zeroizing::new(String::with_capacity(words.len() + 1 + line.len()));
        text.push_str(&words);
        text.push('\n');
        text.push_str(&line);
        text
    }
}

#[cfg(test)]
mod tests {
    use zput_proto::long_bech32::Bech32Error;

    use super::*;
    use crate::tests::GoldenFile;

    /// The QR code of the golden words and line, and what a person makes of the two.
    #[test]
    fn kit_is_words_and_line() {
        let golden = GoldenFile::kit();
        let (words, line) = (golden.text("words_counting.text"), golden.text("line_server.text"));
        let code = format!("{words}\n{line}");
        let kit = Kit::parse(&code).unwrap();
        assert_eq!(*kit.to_secret_string(), code);
        assert_eq!(*kit.words().root().as_bytes(), std::array::from_fn(|at| at as u8));
        assert_eq!(kit.line().to_string(), line);
        assert_eq!(
            format!("{kit:?}"),
            format!("Kit {{ words: Words([secret]), line: {:?} }}", kit.line())
        );
        let typed = format!("\n{}\r\n\r\n{line} \n", words.to_uppercase().replace(' ', "\n"));
        assert_eq!(*Kit::parse(&typed).unwrap().to_secret_string(), code);
    }

    /// A kit without its line, without its words, or with the words of another vault is refused.
    #[test]
    fn kit_refuses_halves_that_do_not_belong_together() {
        let golden = GoldenFile::kit();
        let (words, line) = (golden.text("words_counting.text"), golden.text("line_server.text"));
        let error = |text: &str| Kit::parse(text).unwrap_err();
        assert_eq!(error(words), KitError::Line(Bech32Error::NotBech32.into()));
        assert_eq!(error(""), KitError::Line(Bech32Error::NotBech32.into()));
        assert_eq!(error(line), KitError::Words(WordsError::Count(0)));
        let other = golden.text("words_zeros.text");
        assert_eq!(error(&format!("{other}\n{line}")), KitError::TwoVaults);
        // Of a later root nothing can be said without a charter.
        let later = golden.text("line_root_15_alone.text");
        assert!(Kit::parse(&format!("{other}\n{later}")).is_ok());
    }
}
