//! Makes inputs out of examples: bytes that a broken peer might send, and texts that are nearly right.
//!
//! Flipped bits alone rarely get past a parser. So most changes keep the shape of JSON, YAML and XML:
//! another number for a number, a string from elsewhere for a string, a bracketed part taken out,
//! doubled or put in place of another.

use std::ops::Range;

/// Numbers at which something begins or ends.
const NUMBERS: [&str; 16] = [
    "0",
    "1",
    "-1",
    "15",
    "16",
    "17",
    "255",
    "65536",
    "2147483647",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "18446744073709551615",
    "18446744073709551616",
    "1e400",
    "-0.0",
];
/// Texts that somebody might not expect.
const STRINGS: [&str; 12] = [
    "",
    " ",
    "null",
    "10.0.0.1",
    "10.0.0.0/28",
    "0.0.0.0/0",
    "fd00::1/80",
    "../../etc/passwd",
    "\\u0000",
    "\\ud800",
    "ä\u{202e}",
    "eni-00000000000000001",
];
/// An input does not grow past this.
const LONGEST: usize = 64 * 1024;
/// Changes to one input, at most.
const CHANGES: usize = 6;

/// A source of inputs.
#[derive(Debug)]
pub struct Mutator {
    state: u64,
    examples: Vec<Vec<u8>>,
}

impl Mutator {
    /// The same seed and examples give the same inputs.
    pub fn new(seed: u64, examples: Vec<Vec<u8>>) -> Self {
        Self {
            // Zero would stay zero; neighbours should not look alike.
            state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            examples,
        }
    }

    /// The next input.
    pub fn next_input(&mut self) -> Vec<u8> {
        let mut input = self.example();
        for _ in 0..=self.below(CHANGES) {
            self.change(&mut input);
            input.truncate(LONGEST);
        }
        input
    }

    /// A number below `bound`; 0 when there is none.
    pub fn below(&mut self, bound: usize) -> usize {
        // xorshift64*
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        let high = self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        (high as usize).checked_rem(bound).unwrap_or(0)
    }

    fn example(&mut self) -> Vec<u8> {
        let place = self.below(self.examples.len());
        self.examples.get(place).cloned().unwrap_or_default()
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        let place = self.below(of.len());
        of.get(place).copied().unwrap_or_default()
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        match self.below(10) {
            0 => self.flip(input),
            1 => {
                let range = self.range(input, 16);
                input.drain(range);
            }
            2 => {
                let at = self.below(input.len() + 1);
                input.truncate(at);
            }
            3 => {
                let byte = self.below(256) as u8;
                let at = self.below(input.len() + 1);
                input.insert(at, byte);
            }
            4 => {
                // A part of it once more, elsewhere.
                let range = self.range(input, 64);
                let part = input.get(range).unwrap_or_default().to_vec();
                let at = self.below(input.len() + 1);
                input.splice(at..at, part);
            }
            5 | 6 => {
                let numbers = spans(input, |byte| byte.is_ascii_digit() || byte == b'.');
                let with = self.pick(&NUMBERS).as_bytes().to_vec();
                self.replace(input, &numbers, with);
            }
            7 => {
                let places = strings(input);
                let with = if self.below(2) == 0 {
                    self.pick(&STRINGS).as_bytes().to_vec()
                } else {
                    let other = self.example();
                    let found = self.one_of(&strings(&other));
                    other.get(found).unwrap_or_default().to_vec()
                };
                self.replace(input, &places, with);
            }
            8 => {
                // A part gone or twice.
                let part = self.one_of(&parts(input));
                let mut with = input.get(part.clone()).unwrap_or_default().to_vec();
                match self.below(3) {
                    0 => with.clear(),
                    1 => with = [&*with, b",", &*with].concat(),
                    _ => with = with.repeat(2),
                }
                input.splice(part, with);
            }
            _ => {
                // A part of another example in its place.
                let other = self.example();
                let part = self.one_of(&parts(&other));
                let with = other.get(part).unwrap_or_default().to_vec();
                self.replace(input, &parts(input), with);
            }
        }
    }

    fn flip(&mut self, input: &mut [u8]) {
        let at = self.below(input.len());
        let bit = self.below(8);
        if let Some(byte) = input.get_mut(at) {
            *byte ^= 1 << bit;
        }
    }

    fn range(&mut self, input: &[u8], longest: usize) -> Range<usize> {
        let start = self.below(input.len() + 1);
        let length = self.below(longest + 1);
        start..(start + length).min(input.len())
    }

    fn one_of(&mut self, spans: &[Range<usize>]) -> Range<usize> {
        let place = self.below(spans.len());
        spans.get(place).cloned().unwrap_or(0..0)
    }

    fn replace(&mut self, input: &mut Vec<u8>, spans: &[Range<usize>], with: Vec<u8>) {
        let span = self.one_of(spans);
        input.splice(span, with);
    }
}

/// Runs of bytes of one kind.
fn spans(input: &[u8], is: impl Fn(u8) -> bool) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut start = None;
    for (at, byte) in input.iter().enumerate() {
        match (is(*byte), start) {
            (true, None) => start = Some(at),
            (false, Some(from)) => {
                found.push(from..at);
                start = None;
            }
            _ => {}
        }
    }
    found.extend(start.map(|from| from..input.len()));
    found
}

/// What stands between two quotes, or between the marks of XML.
fn strings(input: &[u8]) -> Vec<Range<usize>> {
    let marks: Vec<usize> = input
        .iter()
        .enumerate()
        .filter(|(_, byte)| matches!(**byte, b'"' | b'<' | b'>'))
        .map(|(at, _)| at)
        .collect();
    marks
        .windows(2)
        .filter_map(|pair| Some(pair.first()? + 1..*pair.last()?))
        .collect()
}

/// Bracketed parts, lines, and elements of XML.
fn parts(input: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut open = Vec::new();
    for (at, byte) in input.iter().enumerate() {
        match byte {
            b'{' | b'[' | b'<' => open.push(at),
            b'}' | b']' | b'>' => found.extend(open.pop().map(|from| from..at + 1)),
            _ => {}
        }
    }
    found.extend(spans(input, |byte| byte != b'\n'));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &[u8] = br#"{"a": 1, "b": ["x", 22], "c": {"d": null}}"#;

    #[test]
    fn the_same_seed_gives_the_same_inputs_and_another_seed_others() {
        let inputs = |seed| -> Vec<Vec<u8>> {
            let mut mutator = Mutator::new(seed, vec![JSON.to_vec(), b"<a>1</a>".to_vec()]);
            (0..200).map(|_| mutator.next_input()).collect()
        };
        assert_eq!(inputs(1), inputs(1));
        assert_ne!(inputs(1), inputs(2));
    }

    #[test]
    fn most_inputs_are_new_and_all_are_bounded() {
        let mut mutator = Mutator::new(1, vec![JSON.to_vec()]);
        let mut new = 0;
        for _ in 0..1000 {
            let input = mutator.next_input();
            assert!(input.len() <= LONGEST);
            new += u32::from(input != JSON);
        }
        assert!(new > 900, "{new}");
    }

    #[test]
    fn parts_numbers_and_strings_are_found() {
        let text = |range: Range<usize>| String::from_utf8(JSON[range].to_vec()).unwrap();
        let all = |ranges: Vec<Range<usize>>| ranges.into_iter().map(text).collect::<Vec<_>>();
        assert_eq!(all(spans(JSON, |byte| byte.is_ascii_digit())), ["1", "22"]);
        assert!(all(strings(JSON)).contains(&"x".to_owned()));
        assert!(all(parts(JSON)).contains(&r#"["x", 22]"#.to_owned()));
        assert!(all(parts(JSON)).contains(&r#"{"d": null}"#.to_owned()));
    }

    #[test]
    fn nothing_is_an_example_too() {
        let mut mutator = Mutator::new(1, vec![Vec::new()]);
        for _ in 0..100 {
            mutator.next_input();
        }
    }
}
