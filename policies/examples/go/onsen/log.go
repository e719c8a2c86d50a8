package onsen

// Log writes a line to the daemon's log: level 0 debug, 1 info, 2 warn. In tests it does nothing.
var Log = func(level uint8, message string) {}
