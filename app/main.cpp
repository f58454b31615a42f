// The binary `tundra`: finds the command, parses its options, and turns every failure into one line and an exit code.
#include <fmt/format.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <new>
#include <system_error>

#include "app/help.h"
#include "app/terminal.h"
#include "base/cpu_level.h"
#include "base/error.h"
#include "base/text.h"

namespace {

std::vector<Command> commands() {
    return {
        train_command(),   eval_command(),   classify_command(), detect_command(),  survey_command(),  review_command(),
        tidy_command(),    merge_command(),  export_command(),   lr_find_command(), report_command(),  synth_command(),
        inspect_command(), import_command(), quantize_command(), doctor_command(),  version_command(),
    };
}

// One line for the error, more only if the text has more (lists of differences), and a hint.
int print_error(std::string_view text, std::string_view hint, int code) {
    (void)output_error();  // results first, where both go to one place
    for (bool first = true; first || !text.empty(); first = false) {
        const size_t end = std::min(text.find('\n'), text.size());
        write_error(fmt::format("{}{}\n", first ? "tundra: " : "", printable(text.substr(0, end))));
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    if (!hint.empty()) write_error(fmt::format("hint: {}\n", printable(hint)));
    return code;
}

std::string guess(std::string_view word, const std::vector<std::string>& known) {
    const std::vector<std::string_view> candidates(known.begin(), known.end());
    return nearest(word, candidates);
}

// The errors of CLI11, but an unknown option is named first: it is often the reason why another one is missing.
int print_option_error(const Command& command, const CLI::App& app, const CLI::ParseError& error) {
    const std::string help = fmt::format("tundra {} -h lists the options", command.name);
    for (const std::string& extra : app.remaining()) {
        const std::string word = extra.substr(0, extra.find('='));
        if (!word.starts_with('-')) continue;
        std::vector<std::string> known;
        for (const CLI::Option* option : app.get_options([](const CLI::Option* o) { return !o->get_group().empty(); }))
            for (const std::string& name : option->get_lnames()) known.push_back("--" + name);
        const std::string better = guess(word, known);
        return print_error(fmt::format("{}: unknown option {}{}", command.name, word,
                                       better.empty() ? "" : ", did you mean " + better + "?"),
                           help, int(Fault::usage));
    }
    if (!app.remaining().empty())
        return print_error(fmt::format("{}: unexpected argument '{}'", command.name, app.remaining().front()), help,
                           int(Fault::usage));
    return print_error(fmt::format("{}: {}", command.name, error.what()), help, int(Fault::usage));
}

int run(const Command& command, int argc, char** argv) {
    CLI::App app(command.summary, "tundra " + command.name);
    app.set_help_flag("-h", "show the main options")->group("Help");
    app.set_help_all_flag("--help", "show all options")->group("Help");
    app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
    const std::function<int()> action = command.add(app);
    const size_t width = std::clamp<size_t>(terminal_columns(), 60, 100);
    try {
        app.parse(argc, argv);
    } catch (const CLI::CallForHelp&) {
        write_output(command_help(command, app, false, width));
        return 0;
    } catch (const CLI::CallForAllHelp&) {
        write_output(command_help(command, app, true, width));
        return 0;
    } catch (const CLI::ParseError& error) {
        return print_option_error(command, app, error);
    }
    // CLI11's ranges let it pass, because no comparison with it is true.
    for (const CLI::Option* option : app.get_options())
        for (const std::string& value : option->results())
            if (const std::string text = lower(value); text == "nan" || text == "-nan" || text == "+nan")
                if (const std::string type = option->get_type_name(), of = type.substr(0, type.find(':'));
                    of == "N" || of == "X")
                    fail(Fault::usage, "{} {}: is not a number", option->get_name(), value);
    return action();
}

std::string hint_for(Fault fault) {
    if (fault == Fault::memory) return "a smaller --batch or --image-size needs less memory";
    return "";
}

int dispatch(int argc, char** argv) {
    const std::vector<Command> all = commands();
    const std::string word = argc > 1 ? argv[1] : "";
    if (word.empty() || word == "-h" || word == "--help" || word == "help") {
        write_output(program_help(all, std::clamp<size_t>(terminal_columns(), 60, 100)));
        return word.empty() ? int(Fault::usage) : 0;
    }
    if (word == "--version") return run(version_command(), 1, argv);
    for (const Command& command : all)
        if (command.name == word) return run(command, argc - 1, argv + 1);
    std::vector<std::string> names;
    for (const Command& command : all) names.push_back(command.name);
    const std::string better = guess(word, names);
    return print_error(fmt::format("unknown {} '{}'{}", word.starts_with('-') ? "option" : "command", word,
                                   better.empty() ? "" : ", did you mean '" + better + "'?"),
                       "tundra -h lists the commands", int(Fault::usage));
}

int run_catching(int argc, char** argv) {
    try {
        check_cpu_level_wanted();
        return dispatch(argc, argv);
    } catch (const Error& error) {
        return print_error(error.what(), hint_for(error.fault), int(error.fault));
    } catch (const std::bad_alloc&) {
        return print_error("out of memory", hint_for(Fault::memory), int(Fault::memory));
    } catch (const std::filesystem::filesystem_error& error) {  // such as a name that is too long
        return print_error(error.what(), "", int(Fault::runtime));
    } catch (const std::system_error& error) {  // such as no thread on a busy system
        return print_error(error.what(), "", int(Fault::environment));
    } catch (const std::exception& error) {
        return print_error(error.what(), "", int(Fault::runtime));
    }
}

// Results that did not arrive are no success. A reader that has seen enough (`| head`) gets no message, only the code
// that shells show for programs that SIGPIPE ends.
int code_with_output(int code) {
    const int error = output_error();
    if (!error || (code && error == EPIPE)) return code;
    if (error == EPIPE) return 128 + SIGPIPE;
    const int failed = print_error(fmt::format("standard output: cannot write: {}", std::strerror(error)), "",
                                   int(Fault::environment));
    return code ? code : failed;
}

}  // namespace

int main(int argc, char** argv) {
    // A closed pipe and a limit on the size of files are errors of the write, not deaths.
    std::signal(SIGPIPE, SIG_IGN);
    std::signal(SIGXFSZ, SIG_IGN);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    // This program never calls exit(); a library does that lacks what a busy system may give later, as OpenMP's does
    // without a thread.
    std::atexit([] { std::_Exit(int(Fault::environment)); });
#endif
    open_standard_streams();
    const int code = code_with_output(run_catching(argc, argv));
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return code;  // so that the sanitizer can report
#else
    std::_Exit(code);  // the system frees all memory faster than the libraries would
#endif
}
