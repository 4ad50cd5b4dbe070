//! Pseudo terminals: allocation, size, raw mode, console socket.
