//! Commands that somebody runs in a container, and attachments to containers: what is asked, and what goes to and fro.

use crate::id::{ContainerName, ExecId, TaskId};
use std::fmt;

/// Bytes of input that may be on their way to the process: the client sends no more until it is told that the process
/// has taken some. So no place in between holds more, and none has to stop reading.
pub const EXEC_WINDOW: usize = 64 * 1024;
/// Bytes of input or output in one message at most.
pub const EXEC_CHUNK: usize = 32 * 1024;
/// Words of a command at most.
pub const MAX_EXEC_WORDS: usize = 1024;
/// Bytes of a command at most, all words together.
pub const MAX_EXEC_BYTES: usize = 64 * 1024;

/// What an agent is asked to do for one session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecOrder {
    /// The session; the agent's stream for it names it.
    pub id: ExecId,
    /// The task.
    pub task: TaskId,
    /// One of its containers.
    pub container: ContainerName,
    /// What to do there.
    pub what: ExecWhat,
    /// Whether there will be input.
    pub stdin: bool,
    /// The terminal that a command gets; none when absent. An attachment has what its container has, and this size.
    pub terminal: Option<TerminalSize>,
}

/// What a session is.
#[derive(Clone, PartialEq, Eq)]
pub enum ExecWhat {
    /// A new process in the container.
    Command {
        /// The program and its arguments; at least the program. Arguments may be secret: `Debug` does not show them.
        argv: Vec<String>,
        /// `user`, `uid`, `user:group` or `uid:gid`; that of the container when absent.
        user: Option<String>,
    },
    /// The container's own process.
    Attach,
}

impl fmt::Debug for ExecWhat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command { argv, user } => {
                let program = program_name(argv);
                write!(f, "Command({program} and {} arguments, {user:?})", argv.len().saturating_sub(1))
            }
            Self::Attach => f.write_str("Attach"),
        }
    }
}

/// Characters of a program's name.
const PROGRAM: usize = 40;

/// What logs and people are told of a command: the name of its program, without a path, at most 40 characters. Somebody
/// may have put the whole command into its first word, so nothing behind a blank is of it.
#[must_use]
pub fn program_name(argv: &[String]) -> String {
    let word = argv.first().and_then(|word| word.split_whitespace().next()).unwrap_or_default();
    word.rsplit('/').next().unwrap_or_default().chars().take(PROGRAM).collect()
}

/// A terminal's size in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalSize {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

/// What goes to the process.
#[derive(Clone, PartialEq, Eq)]
pub enum ExecInput {
    /// Bytes of its standard input, [`EXEC_CHUNK`] at most.
    Data(Vec<u8>),
    /// There will be no more input.
    End,
    /// Its terminal has another size.
    Resize(TerminalSize),
}

/// What comes from it. Ends with `Exit` or `Failed`.
#[derive(Clone, PartialEq, Eq)]
pub enum ExecOutput {
    /// It runs, or the attachment is made.
    Started {
        /// Whether it has a terminal: input is what keys send, and all output is `Stdout`.
        terminal: bool,
        /// Whether input reaches it.
        stdin: bool,
    },
    /// Bytes of its standard output, [`EXEC_CHUNK`] at most.
    Stdout(Vec<u8>),
    /// Bytes of its standard error, [`EXEC_CHUNK`] at most.
    Stderr(Vec<u8>),
    /// It has taken so many bytes of input: as many more may be sent.
    Taken(u32),
    /// It ended with this code (128 + n after signal n); of an attachment, the container's process did.
    Exit(i32),
    /// It could not be started, or the session cannot go on; for people.
    Failed(String),
}

impl fmt::Debug for ExecInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Data(bytes) => write!(f, "Data({} bytes)", bytes.len()),
            Self::End => f.write_str("End"),
            Self::Resize(size) => write!(f, "Resize({size:?})"),
        }
    }
}

impl fmt::Debug for ExecOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started { terminal, stdin } => write!(f, "Started(terminal {terminal}, stdin {stdin})"),
            Self::Stdout(bytes) => write!(f, "Stdout({} bytes)", bytes.len()),
            Self::Stderr(bytes) => write!(f, "Stderr({} bytes)", bytes.len()),
            Self::Taken(bytes) => write!(f, "Taken({bytes})"),
            Self::Exit(code) => write!(f, "Exit({code})"),
            Self::Failed(why) => write!(f, "Failed({why})"),
        }
    }
}

/// Bytes before each frame's content on a client's stream: its kind, and the content's length, big-endian.
pub const FRAME_HEADER: usize = 5;

/// A frame that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Of a kind that this build does not know, or that goes the other way.
    #[error("a frame is of the unknown kind {0}")]
    Kind(u8),
    /// Longer than any is.
    #[error("a frame has {0} bytes, and may have {EXEC_CHUNK}")]
    TooLong(usize),
    /// Its content is not what frames of its kind hold.
    #[error("a frame of kind {0} has the wrong content")]
    Content(u8),
}

/// The kind of a frame and the length of its content, which follows.
///
/// # Errors
/// When no frame is as long.
pub fn frame_header(header: [u8; FRAME_HEADER]) -> Result<(u8, usize), FrameError> {
    let [kind, length @ ..] = header;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > EXEC_CHUNK { Err(FrameError::TooLong(length)) } else { Ok((kind, length)) }
}

fn frame(kind: u8, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).expect("a chunk is shorter than 4 GiB");
    [&[kind][..], &length.to_be_bytes(), content].concat()
}

impl ExecInput {
    /// As a frame of a client's stream.
    #[must_use]
    pub fn to_frame(&self) -> Vec<u8> {
        match self {
            Self::Data(bytes) => frame(0, bytes),
            Self::End => frame(1, &[]),
            Self::Resize(size) => frame(2, &[size.rows.to_be_bytes(), size.columns.to_be_bytes()].concat()),
        }
    }

    /// What a frame says.
    ///
    /// # Errors
    /// See [`FrameError`].
    pub fn from_frame(kind: u8, content: Vec<u8>) -> Result<Self, FrameError> {
        match (kind, &content[..]) {
            (0, _) => Ok(Self::Data(content)),
            (1, []) => Ok(Self::End),
            (2, &[a, b, c, d]) => {
                let number = |bytes| u16::from_be_bytes(bytes);
                Ok(Self::Resize(TerminalSize { rows: number([a, b]), columns: number([c, d]) }))
            }
            (1 | 2, _) => Err(FrameError::Content(kind)),
            _ => Err(FrameError::Kind(kind)),
        }
    }
}

impl ExecOutput {
    /// As a frame of a client's stream.
    #[must_use]
    pub fn to_frame(&self) -> Vec<u8> {
        match self {
            Self::Started { terminal, stdin } => frame(0, &[u8::from(*terminal), u8::from(*stdin)]),
            Self::Stdout(bytes) => frame(1, bytes),
            Self::Stderr(bytes) => frame(2, bytes),
            Self::Taken(bytes) => frame(3, &bytes.to_be_bytes()),
            Self::Exit(code) => frame(4, &code.to_be_bytes()),
            Self::Failed(why) => frame(5, why.as_bytes()),
        }
    }

    /// What a frame says.
    ///
    /// # Errors
    /// See [`FrameError`].
    pub fn from_frame(kind: u8, content: Vec<u8>) -> Result<Self, FrameError> {
        let four = |content: &[u8]| <[u8; 4]>::try_from(content).map_err(|_| FrameError::Content(kind));
        match kind {
            0 => match content[..] {
                [terminal @ 0..=1, stdin @ 0..=1] => Ok(Self::Started { terminal: terminal == 1, stdin: stdin == 1 }),
                _ => Err(FrameError::Content(kind)),
            },
            1 => Ok(Self::Stdout(content)),
            2 => Ok(Self::Stderr(content)),
            3 => Ok(Self::Taken(u32::from_be_bytes(four(&content)?))),
            4 => Ok(Self::Exit(i32::from_be_bytes(four(&content)?))),
            5 => Ok(Self::Failed(String::from_utf8_lossy(&content).into_owned())),
            _ => Err(FrameError::Kind(kind)),
        }
    }
}

/// One command line of words, such that [`split_words`] gives the words back.
#[must_use]
pub fn join_words(words: &[String]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    let quoted = |word: &String| match word.is_empty() || !word.chars().all(plain) {
        true => format!("'{}'", word.replace('\'', "'\\''")),
        false => word.clone(),
    };
    words.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

/// The words of a command line, split at blanks as a POSIX shell does. Quotes and backslashes are honoured, nothing is
/// expanded. `None` when a quote is not closed or a backslash stands last.
#[must_use]
pub fn split_words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\n' | '\r' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        '\'' => break,
                        c => word.push(c),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        '"' => break,
                        '\\' => match chars.next()? {
                            c @ ('"' | '\\' | '$' | '`') => word.push(c),
                            '\n' => {}
                            c => word.extend(['\\', c]),
                        },
                        c => word.push(c),
                    }
                }
            }
            '\\' => word.get_or_insert_default().push(chars.next()?),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_neither_arguments_nor_what_is_typed() {
        let argv = ["mysql", "-psecret"].map(str::to_owned).to_vec();
        let shown = format!("{:?}", ExecWhat::Command { argv, user: None });
        assert!(shown.contains("mysql and 1 arguments") && !shown.contains("secret"), "{shown}");
        assert_eq!(format!("{:?}", ExecInput::Data(b"secret".to_vec())), "Data(6 bytes)");
        assert_eq!(format!("{:?}", ExecOutput::Stdout(b"secret".to_vec())), "Stdout(6 bytes)");
    }

    #[test]
    fn frames_round_trip_and_damaged_ones_are_refused() {
        let size = TerminalSize { rows: 24, columns: 300 };
        for input in [ExecInput::Data(vec![0, 255]), ExecInput::End, ExecInput::Resize(size)] {
            let frame = input.to_frame();
            let (kind, length) = frame_header(frame[..FRAME_HEADER].try_into().expect("five")).expect("a header");
            assert_eq!(frame.len(), FRAME_HEADER + length);
            assert_eq!(ExecInput::from_frame(kind, frame[FRAME_HEADER..].to_vec()), Ok(input));
        }
        for output in [
            ExecOutput::Started { terminal: true, stdin: false },
            ExecOutput::Stdout(b"out".to_vec()),
            ExecOutput::Stderr(Vec::new()),
            ExecOutput::Taken(70_000),
            ExecOutput::Exit(-1),
            ExecOutput::Failed("why".to_owned()),
        ] {
            let frame = output.to_frame();
            let (kind, length) = frame_header(frame[..FRAME_HEADER].try_into().expect("five")).expect("a header");
            assert_eq!(frame.len(), FRAME_HEADER + length);
            assert_eq!(ExecOutput::from_frame(kind, frame[FRAME_HEADER..].to_vec()), Ok(output));
        }
        assert_eq!(frame_header([0, 0, 1, 0, 0]), Err(FrameError::TooLong(1 << 16)));
        assert_eq!(ExecInput::from_frame(2, vec![0; 3]), Err(FrameError::Content(2)));
        assert_eq!(ExecInput::from_frame(3, Vec::new()), Err(FrameError::Kind(3)));
        assert_eq!(ExecOutput::from_frame(0, vec![2, 0]), Err(FrameError::Content(0)));
        assert_eq!(ExecOutput::from_frame(4, vec![0; 5]), Err(FrameError::Content(4)));
        assert_eq!(ExecOutput::from_frame(6, Vec::new()), Err(FrameError::Kind(6)));
    }

    #[test]
    fn words_survive_a_command_line() {
        for words in
            [&["sh", "-c", "echo \"$HOME\" 'it''s' \\ ; exit 7"][..], &["a", "", " ", "\n", "é'"], &["/bin/sh"]]
        {
            let words: Vec<String> = words.iter().map(|&w| w.to_owned()).collect();
            assert_eq!(split_words(&join_words(&words)), Some(words));
        }
        let split = |line: &str| split_words(line);
        assert_eq!(
            split(r#"/bin/sh  -c "a \"b\" \c" d\ e"#),
            Some(["/bin/sh", "-c", r#"a "b" \c"#, "d e"].map(str::to_owned).to_vec())
        );
        assert_eq!(split("  "), Some(Vec::new()));
        assert_eq!(split("it's"), None);
        assert_eq!(split("a\\"), None);
    }
}
