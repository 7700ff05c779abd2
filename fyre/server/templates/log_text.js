"use strict";
// Terminal codes: of a colour or a cursor, of a title, and the short ones.
const CODE = /\x1b(?:\[[0-?]*[ -\/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)|[ -\/]*[0-Z\\^-~])/g;
// The begin of one that goes on in the next piece.
const BEGUN_CODE = /\x1b(?:\[[0-?]*[ -\/]*|\][^\x07\x1b\n]*\x1b?|[ -\/]*)$/;
const CONTROL = /[\0-\x08\x0b\x0c\x0e-\x1f\x7f]/g;
const CODE_MAX = 1000, LINE_MAX = 20_000; // characters that are held back at most

// A log as a terminal would leave it: no codes, and of a line that was written over with carriage
// returns, as a progress bar is, what stands there last.
class LogText {
  constructor() { this.held = ""; this.open = ""; }
  // Take more of the log; return the lines that are complete by now.
  add(text) {
    const whole = this.held + text, begun = BEGUN_CODE.exec(whole);
    const end = begun && whole.length - begun.index < CODE_MAX ? begun.index : whole.length;
    this.held = whole.slice(end);
    const lines = (this.open + whole.slice(0, end).replace(CODE, "").replace(CONTROL, "")).split("\n");
    const last = lines.pop(), complete = lines.map((line) => written(line) + "\n").join("");
    this.open = written(last) + (last.endsWith("\r") ? "\r" : "");
    if (this.open.length < LINE_MAX) return complete;
    const long = this.open;
    this.open = "";
    return complete + long;
  }
  // The line that is not complete yet.
  get openLine() { return written(this.open); }
}
function written(line) {
  const text = line.replace(/\r+$/, "");
  return text.slice(text.lastIndexOf("\r") + 1);
}
// As `format_duration` in fyre/message/value_parsers.py.
function formatDuration(seconds) {
  const total = Math.max(0, Math.floor(seconds)), two = (number) => String(number).padStart(2, "0");
  if (total < 60) return `${total}s`;
  if (total < 3600) return `${Math.floor(total / 60)}m ${two(total % 60)}s`;
  if (total < 86400) return `${Math.floor(total / 3600)}h ${two(Math.floor(total % 3600 / 60))}m`;
  return `${Math.floor(total / 86400)}d ${Math.floor(total % 86400 / 3600)}h`;
}
