//! Numbered fault points: where a test can stop the runtime to see what it leaves behind.
