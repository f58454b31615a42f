// `tundra version`: commit, compiler and libraries of this binary.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "app/command.h"
#include "app/terminal.h"
#include "train/machine.h"

namespace {

int run(bool as_json) {
    const Build build = this_build();
    if (as_json) {
        nlohmann::json libraries = nlohmann::json::object();
        for (const Library& l : linked_libraries())
            libraries[l.name] = {{"compiled", l.compiled}, {"loaded", l.loaded}};
        print_output("{}\n", nlohmann::json{{"version", build.version},
                                            {"commit", build.commit},
                                            {"compiler", build.compiler},
                                            {"flags", build.flags},
                                            {"libraries", libraries}}
                                 .dump(1));
        return 0;
    }
    print_output("tundra {}\ncommit    {}\ncompiler  {}\nflags     {}\n", build.version, build.commit, build.compiler,
                 build.flags);
    for (const Library& l : linked_libraries())
        print_output("{:<14}built with {}{}\n", l.name, l.compiled, l.loaded.empty() ? "" : ", loaded " + l.loaded);
    return 0;
}

std::function<int()> add(CLI::App& app) {
    auto as_json = std::make_shared<bool>(false);
    app.add_flag("--json", *as_json, "print JSON");
    return [as_json] { return run(*as_json); };
}

}  // namespace

Command version_command() {
    return {.name = "version",
            .summary = "Print version, commit, compiler and libraries.",
            .examples = {"tundra version", "tundra version --json"},
            .add = add};
}
