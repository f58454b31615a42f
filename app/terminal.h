// Progress, results and notes on the terminal; texts from files are escaped.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "base/text.h"

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
