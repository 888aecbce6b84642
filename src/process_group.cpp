#if __has_include(<spawn.h>)
#include "process_group.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <array>       // for std::array
#include <cerrno>      // for errno
#include <csignal>     // for kill
#include <cstdio>      // for std::sscanf
#include <cstring>     // for std::strrchr
#include <filesystem>  // for std::filesystem::directory_iterator
#include <string>      // for std::string

namespace cohort::detail {
namespace {

// Looks for a member in the process table, where there is one. True when it cannot tell.
[[maybe_unused]] bool has_live_member(int group) {
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    if (entry.path().filename().native().find_first_not_of("0123456789") != std::string::npos) continue;
    const int file = ::open((entry.path() / "stat").c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0 && errno != ENOENT) return true;
    std::array<char, 512> line{};  // of which we need the beginning
    const bool there = ::read(file, line.data(), line.size() - 1) > 0;
    ::close(file);
    if (!there) continue;                                   // gone meanwhile
    const char* name_end = std::strrchr(line.data(), ')');  // the name is in parentheses, and may be anything
    char state = 0;
    int parent = 0;
    int its_group = 0;
    if (name_end == nullptr || std::sscanf(name_end + 1, " %c %d %d", &state, &parent, &its_group) != 3) return true;
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
  } catch (...) {  // we cannot tell
  }
#endif
  return false;
}

}  // namespace cohort::detail
#endif
