// Progress, results and notes on the terminal; texts from files are escaped.
//
// The terminal may go away, a disk behind `> file` may fill up, a reader behind `| head` may stop reading: writing
// never throws and never ends the work. What standard error cannot take is dropped; what standard output could not take
// is told by output_error() and becomes the exit code.
#pragma once

#include <fmt/format.h>

#include <chrono>
#include <string>
#include <string_view>

#include "base/text.h"

// After this, file descriptors 0, 1 and 2 are open, so that no other file gets their numbers and, with them, the text
// for the terminal. Writing to one that was closed fails.
void open_standard_streams();

// To standard output and standard error, as it is.
void write_output(std::string_view text);
void write_error(std::string_view text);
template <class... Parts>
void print_output(fmt::format_string<Parts...> text, Parts&&... parts) {
    write_output(fmt::format(text, std::forward<Parts>(parts)...));
}

// Flushes standard output; the errno of its first write that failed, 0 if everything was written.
int output_error();

// Columns for help and tables: COLUMNS, or the terminal's, or 80.
size_t terminal_columns();

// Progress on standard error. On a terminal one line that is rewritten, at most ten times a second; otherwise a line
// every 30 s, or every 5 % if those take longer.
class Progress {
public:
    explicit Progress(bool quiet);
    ~Progress() { clear(); }
    Progress(const Progress&) = delete;
    Progress& operator=(const Progress&) = delete;

    bool is_due(double fraction) const;
    void show(double fraction, const std::string& text);  // if it is due
    void clear();                                         // before anything else is printed
    // Counting with rate and time left: "120/2,400 images  31.2/s  1 min 13 s left".
    void count(size_t done, size_t total, const char* unit);

private:
    using Clock = std::chrono::steady_clock;
    bool quiet_, terminal_, drawn_ = false;
    Clock::time_point start_ = Clock::now(), last_ = start_;
    double last_fraction_ = 0;
    static constexpr size_t kNone = ~size_t(0);
    size_t first_ = kNone;  // items that were done at the first count()
};

// Prints a line, escaped, to standard output or standard error, after clearing the progress line.
void print_line(Progress& progress, std::string_view text);
void print_note(Progress& progress, std::string_view text);
