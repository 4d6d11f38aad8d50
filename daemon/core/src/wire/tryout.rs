//! What passes between whoever judges a config and the short-lived process that has a plugin make instances
//! (`healthd --tryout`): one question and one answer a message, so that it is known which check it crashed on.
//!
//! The first message is a [`Load`], with the fd of the file's sealed copy; its answer says whether it loads.

use serde::{Deserialize, Serialize};

/// Longer words are cut.
pub const SAID_MAX: usize = 4 << 10;

/// Load this file and initialise these plugins of it, as a worker does before anything else.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    pub file: String,
    pub plugins: Vec<u32>,
}

/// Make an instance.
#[derive(Debug, PartialEq, Eq)]
pub struct Question<'m> {
    /// Of the plugin in its file.
    pub index: u32,
    pub check: &'m str,
    pub config: &'m str,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    pub outcome: Outcome,
    /// The plugin's words, or what was wrong with it.
    pub said: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// An instance was made; what was said is a remark.
    Made,
    /// The options are wrong.
    Refused,
    /// The plugin did something else.
    Broken,
}

impl<'m> Question<'m> {
    pub fn encode(&self) -> Vec<u8> {
        let mut message = self.index.to_le_bytes().to_vec();
        message.extend((self.check.len() as u32).to_le_bytes());
        message.extend(self.check.as_bytes());
        message.extend(self.config.as_bytes());
        message
    }

    pub fn decode(message: &'m [u8]) -> Option<Question<'m>> {
        let (index, rest) = message.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (check, config) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        Some(Question {
            index: u32::from_le_bytes(*index),
            check: std::str::from_utf8(check).ok()?,
            config: std::str::from_utf8(config).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_comes_over_as_it_is() {
        let question = Question {
            index: 7,
            check: "wéb",
            config: r#"{"a":1}"#,
        };
        let bytes = question.encode();
        assert_eq!(Question::decode(&bytes), Some(question));
        for short in 0..10 {
            assert_eq!(Question::decode(&bytes[..short]), None);
        }
        assert_eq!(Question::decode(&[0, 0, 0, 0, 255, 255, 255, 255, 0]), None);
    }
}
