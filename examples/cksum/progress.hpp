#pragma once

#include <cohort/cohort.hpp>  // for sleep_for, Task

#include <array>    // for array
#include <atomic>   // for atomic
#include <chrono>   // for steady_clock
#include <cstddef>  // for size_t
#include <cstdint>  // for uint64_t
#include <cstdio>   // for fputs, snprintf
#include <string>   // for string

/// One line on a terminal that says how far the work has come, redrawn in place.
///
/// All members but `bytes` belong to one thread: the one that also writes everything else to the terminal.
class Progress {
 public:
  std::atomic<std::uint64_t> bytes = 0;  // read so far; counted by whoever reads
  std::uint64_t files = 0;               // done so far

  Progress() = default;
  ~Progress() { hide(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// Shows the line, ten times a second, until it is cancelled.
  cohort::Task<> show() {
    while (true) {
      co_await cohort::sleep_for(std::chrono::milliseconds(100));
      draw();
    }
  }

  /// Takes the line away, to make room for other text. `show` brings it back.
  void hide() {
    if (visible_) std::fputs("\r\033[K", stderr);
    visible_ = false;
  }

 private:
  void draw() {
    const auto read = static_cast<double>(bytes.load(std::memory_order_relaxed));
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start_;
    const std::string line =
        std::to_string(files) + " files, " + with_unit(read) + ", " + with_unit(read / elapsed.count()) + "/s";
    std::fputs(("\r" + line + "\033[K").c_str(), stderr);
    visible_ = true;
  }

  static std::string with_unit(double amount) {
    constexpr std::array units{"B", "kB", "MB", "GB", "TB"};
    std::size_t unit = 0;
    for (; amount >= 1000 && unit + 1 < units.size(); ++unit) amount /= 1000;
    std::array<char, 32> text{};
    std::snprintf(text.data(), text.size(), "%.*f %s", unit == 0 ? 0 : 1, amount, units[unit]);
    return text.data();
  }

  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  bool visible_ = false;
};
