#if __has_include(<spawn.h>)
#include "process_group.hpp"

#include <cerrno>      // for errno
#include <csignal>     // for kill
#include <cstdio>      // for std::sscanf
#include <filesystem>  // for std::filesystem::directory_iterator
#include <fstream>     // for std::ifstream
#include <string>      // for std::string, std::getline

namespace cohort::detail {
namespace {

// Looks for a member in the process table, where there is one.
[[maybe_unused]] bool has_live_member(int group) {
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    if (entry.path().filename().native().find_first_not_of("0123456789") != std::string::npos) continue;
    std::ifstream file(entry.path() / "stat");  // it may be gone: then there is no line
    std::string line;
    std::getline(file, line, '\0');
    const std::size_t name_end = line.rfind(')');  // the name is in parentheses, and may be anything
    if (name_end == std::string::npos) continue;
    char state = 0;
    int parent = 0;
    int its_group = 0;
    if (std::sscanf(line.c_str() + name_end + 1, " %c %d %d", &state, &parent, &its_group) != 3) continue;
    if (its_group == group && state != 'Z' && state != 'X') return true;
  }
  return false;
}

}  // namespace

bool is_dead_group(int group, [[maybe_unused]] bool thorough) noexcept {
  if (::kill(-group, 0) != 0 && errno == ESRCH) return true;  // 0: only asks
#if defined(__linux__)
  try {
    return thorough && !has_live_member(group);
  } catch (...) {  // no memory, no descriptor, no /proc: we cannot tell
  }
#endif
  return false;
}

}  // namespace cohort::detail
#endif
