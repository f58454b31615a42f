// What people see while something runs: one line on a terminal, few lines elsewhere, and nothing that a file name could
// smuggle in.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

// The text with control characters, invalid UTF-8 and what changes the direction of writing as \xNN.
std::string printable(std::string_view text);

// Columns for help and tables: COLUMNS, or the terminal's, or 80.
size_t terminal_columns();

std::string duration_text(double seconds);  // "45 s", "3 min 20 s", "2 h 05 min"
std::string bytes_text(double bytes);       // "12.3 MB"
std::string count_text(uint64_t number);    // "23,508,032"

// Progress on standard error. On a terminal one line that is rewritten, at most ten times a second; otherwise a line
// every 30 s, or every 5 % if those take longer.
class Progress {
public:
    explicit Progress(bool quiet);
    ~Progress() { clear(); }
    Progress(const Progress&) = delete;
    Progress& operator=(const Progress&) = delete;

    bool is_due(double fraction) const;
    void show(double fraction, const std::string& text);  // where it is due, or at the end
    void clear();                                         // before anything else is printed
    // Counting with rate and time left: "120/2,400 images  31.2/s  1 min 13 s left".
    void count(size_t done, size_t total, const char* unit);

private:
    using Clock = std::chrono::steady_clock;
    bool quiet_, terminal_, drawn_ = false;
    Clock::time_point start_ = Clock::now(), last_ = start_;
    double last_fraction_ = 0;
    static constexpr size_t kNone = ~size_t(0);
    size_t first_ = kNone;  // what count() was first told
};

// A line for people on standard output or standard error, escaped, after the progress line was taken away.
void say(Progress& progress, std::string_view text);
void note(Progress& progress, std::string_view text);
