//! The secret by which a server knows its clients.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::io::{self, IoError};

/// Fewest characters: 16 of base64 are 96 bits, which nobody guesses.
const MIN_CHARS: usize = 16;

/// A secret; only its hash is kept.
#[derive(Clone)]
pub struct Token(blake3::Hash);

/// A file that holds no token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The file cannot be read.
    #[error(transparent)]
    Io(#[from] IoError),
    /// What it holds is no token.
    #[error("`{}`: expected one line of at least {MIN_CHARS} characters without spaces, found {found}", path.display())]
    Text {
        /// The file.
        path: PathBuf,
        /// What is there; never the text.
        found: String,
    },
    /// Others can read it.
    #[error("`{}`: others than its owner can read it (mode {mode:03o})", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
}

impl crate::error::Hint for TokenError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Io(error) => error.hint(),
            Self::Text { .. } => Some("`openssl rand -hex 32` makes one".into()),
            Self::Open { .. } => Some("`chmod 600` on it".into()),
        }
    }
}

impl Token {
    /// The token in a file that only its owner can read.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        let text = io::read_text(path)?;
        let text = text.trim_end_matches(['\n', '\r']);
        let wrong = |found: String| TokenError::Text { path: path.to_owned(), found };
        if !text.chars().all(|c| c.is_ascii_graphic()) {
            return Err(wrong("spaces, line breaks or other characters".into()));
        }
        if text.len() < MIN_CHARS {
            return Err(wrong(format!("{} characters", text.len())));
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let metadata = std::fs::metadata(path).map_err(|source| IoError::new("read", path, source))?;
            let mode = metadata.permissions().mode() & 0o777;
            if mode & 0o077 != 0 {
                return Err(TokenError::Open { path: path.to_owned(), mode });
            }
        }
        Ok(Self(blake3::hash(text.as_bytes())))
    }

    /// Whether this is it. Hashes of BLAKE3 are compared in a time that says nothing.
    pub(super) fn is(&self, said: &str) -> bool {
        self.0 == blake3::hash(said.as_bytes())
    }

    /// Whether it is the password in `NAME:PASSWORD`, written in base64.
    pub(super) fn is_password(&self, said: &str) -> bool {
        use base64::Engine as _;
        let Ok(said) = base64::engine::general_purpose::STANDARD.decode(said) else { return false };
        let Ok(said) = String::from_utf8(said) else { return false };
        said.split_once(':').is_some_and(|(_, password)| self.is(password))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}
