//! Which faults, how often: read from a word such as `drop=100000,reorder=5000,seed=7`.

use core::fmt;
use core::str::FromStr;

/// What a rate is a share of.
pub const MILLION: u32 = 1_000_000;

/// How often each fault happens. The default is never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Of a million arriving datagrams, how many are lost.
    pub drop_millionths: u32,
    /// Of a million, how many are held back behind later ones.
    pub reorder_millionths: u32,
    /// Of a million, how many arrive twice.
    pub duplicate_millionths: u32,
    /// Which datagrams these are: the same for the same seed and the same order of arrival.
    pub seed: u64,
}

impl Config {
    /// Whether no fault ever happens.
    #[must_use]
    pub const fn is_off(&self) -> bool {
        self.drop_millionths == 0 && self.reorder_millionths == 0 && self.duplicate_millionths == 0
    }
}

impl FromStr for Config {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let mut config = Self::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            match key {
                "drop" => config.drop_millionths = rate(key, value)?,
                "reorder" => config.reorder_millionths = rate(key, value)?,
                "duplicate" => config.duplicate_millionths = rate(key, value)?,
                "seed" => {
                    config.seed = value.parse().map_err(|_| ParseError::Seed(value.into()))?
                }
                _ => return Err(ParseError::UnknownKey(key.into())),
            }
        }
        Ok(config)
    }
}

fn rate(key: &str, value: &str) -> Result<u32, ParseError> {
    match value.parse() {
        Ok(rate) if rate <= MILLION => Ok(rate),
        _ => Err(ParseError::Rate {
            key: key.into(),
            value: value.into(),
        }),
    }
}

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            drop_millionths: drop,
            reorder_millionths: reorder,
            duplicate_millionths: duplicate,
            seed,
        } = self;
        write!(
            f,
            "drop={drop},reorder={reorder},duplicate={duplicate},seed={seed}"
        )
    }
}

/// Why a word is no [`Config`]; the text is one line that says what to type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// No such fault.
    UnknownKey(String),
    /// Not a number of millionths.
    Rate {
        /// Which fault.
        key: String,
        /// What was given.
        value: String,
    },
    /// Not a number.
    Seed(String),
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKey(key) => write!(
                f,
                "unknown fault `{key}`; write drop=N,reorder=N,duplicate=N,seed=N, any of them"
            ),
            Self::Rate { key, value } => write!(
                f,
                "`{key}={value}`: write a number of millionths from 0 to {MILLION} \
                 ({key}=10000 is 1 %)"
            ),
            Self::Seed(value) => {
                write!(f, "`seed={value}`: write a number from 0 to {}", u64::MAX)
            }
        }
    }
}

impl core::error::Error for ParseError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_is_written_as_it_is_read() {
        let word = "drop=100000,reorder=200000,duplicate=300000,seed=7";
        let config: Config = word.parse().unwrap();
        assert_eq!(config.to_string(), word);
        assert_eq!("".parse(), Ok(Config::default()));
        assert!(!config.is_off());
        assert!("seed=9".parse::<Config>().unwrap().is_off());
    }

    #[test]
    fn a_wrong_word_says_in_one_line_what_to_type() {
        let error = |word: &str| word.parse::<Config>().unwrap_err().to_string();
        assert_eq!(
            error("loss=5"),
            "unknown fault `loss`; write drop=N,reorder=N,duplicate=N,seed=N, any of them"
        );
        assert_eq!(
            error("drop=1000001"),
            "`drop=1000001`: write a number of millionths from 0 to 1000000 (drop=10000 is 1 %)"
        );
        assert_eq!(
            error("drop"),
            "`drop=`: write a number of millionths from 0 to 1000000 (drop=10000 is 1 %)"
        );
        assert_eq!(
            error("seed=x"),
            "`seed=x`: write a number from 0 to 18446744073709551615"
        );
    }
}
