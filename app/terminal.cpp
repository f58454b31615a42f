#include "app/terminal.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>

namespace {

int first_output_error = 0;

// With the results of fwrite and fflush alone, lines to a terminal that is gone count as written (glibc 2.36).
void keep_error(bool good) {
    if ((!good || std::ferror(stdout)) && !first_output_error) first_output_error = errno ? errno : EIO;
}

// Columns, one per character: close enough for a line of progress.
size_t width_of(std::string_view text) {
    return size_t(std::ranges::count_if(text, [](char c) { return (uint8_t(c) & 0xc0) != 0x80; }));
}

}  // namespace

void open_standard_streams() {
    for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
        if (fcntl(stream, F_GETFD) < 0) (void)!open("/dev/null", stream == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

void write_output(std::string_view text) {
    errno = 0;
    keep_error(std::fwrite(text.data(), 1, text.size(), stdout) == text.size());
}

void write_error(std::string_view text) {
    std::fwrite(text.data(), 1, text.size(), stderr);
    std::fflush(stderr);
}

int output_error() {
    errno = 0;
    keep_error(std::fflush(stdout) == 0);
    return first_output_error;
}

size_t terminal_columns() {
    if (const char* columns = std::getenv("COLUMNS"); columns && std::atoi(columns) >= 20)
        return size_t(std::atoi(columns));
    winsize size{};
    for (int stream : {STDOUT_FILENO, STDERR_FILENO})
        if (ioctl(stream, TIOCGWINSZ, &size) == 0 && size.ws_col >= 20) return size.ws_col;
    return 80;
}

Progress::Progress(bool quiet) : quiet_(quiet) {
    const char* kind = std::getenv("TERM");
    terminal_ = isatty(STDERR_FILENO) && !(kind && std::string_view(kind) == "dumb");
}

bool Progress::is_due(double fraction) const {
    if (quiet_) return false;
    const double seconds = std::chrono::duration<double>(Clock::now() - last_).count();
    if (terminal_) return seconds >= 0.1 || !drawn_;
    const double elapsed = std::chrono::duration<double>(Clock::now() - start_).count();
    // After ten minutes 5 % of the time is more than 30 s.
    return seconds >= 30 && (elapsed < 600 || fraction - last_fraction_ >= 0.05);
}

void Progress::show(double fraction, const std::string& text) {
    if (!is_due(fraction)) return;
    last_ = Clock::now();
    last_fraction_ = fraction;
    if (!terminal_) {
        write_error(fmt::format("{:3.0f} %  {}\n", 100 * fraction, text));
        return;
    }
    const size_t columns = terminal_columns();
    std::string line = fmt::format("{:3.0f} %  {}", 100 * fraction, text);
    constexpr size_t kBar = 20;
    if (const size_t full = width_of(line) + kBar + 3; full < columns) {
        const auto filled = size_t(std::clamp(fraction, 0.0, 1.0) * kBar);
        line = fmt::format("[{}{}] {}", std::string(filled, '#'), std::string(kBar - filled, '.'), line);
    }
    while (width_of(line) >= columns) line.pop_back();
    write_error("\r\x1b[K" + line);
    drawn_ = true;
}

void Progress::clear() {
    if (!drawn_) return;
    write_error("\r\x1b[K");
    drawn_ = false;
}

void Progress::count(size_t done, size_t total, const char* unit) {
    const double fraction = total ? double(done) / double(total) : 1;
    if (first_ == kNone) first_ = done > 0 ? done - 1 : 0;  // those of an interrupted run took no time now
    const double seconds = std::chrono::duration<double>(Clock::now() - start_).count(),
                 rate = double(done - first_) / std::max(seconds, 1e-9);
    if (!is_due(fraction)) return;
    show(fraction, fmt::format("{}/{} {}  {:.1f}/s  {} left", count_text(done), count_text(total), unit, rate,
                               duration_text(double(total - done) / std::max(rate, 1e-9))));
}

void print_line(Progress& progress, std::string_view text) {
    progress.clear();
    write_output(printable(text) + "\n");
    (void)output_error();
}

void print_note(Progress& progress, std::string_view text) {
    progress.clear();
    (void)output_error();  // what comes first stands first where both go to one place
    write_error("note: " + printable(text) + "\n");
}
