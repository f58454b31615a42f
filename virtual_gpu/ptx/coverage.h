// Which instructions the launches of a process executed, for a report over many test programs.
#pragma once

namespace ptx {

// With the environment variable PTX_COVERAGE=FOLDER, a file in it at the end of the process: per kernel a line with
// architecture, mangled name, and a 0 or 1 per instruction. Without, nothing.
void write_coverage_at_exit();

}  // namespace ptx
