#pragma once

#include <algorithm>  // for clamp, max
#include <chrono>     // for duration_cast, milliseconds, steady_clock
#include <cstddef>    // for size_t
#include <string>     // for string, to_string

/// Where things go on a chart of `columns` columns that spans the time from `begin` to `end`.
class Scale {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::size_t columns = 72;

  Scale(Clock::time_point begin, Clock::time_point end)
      : begin_(begin), width_(std::max<Clock::duration>((end - begin) / columns, std::chrono::milliseconds(1))) {}

  std::size_t column(Clock::time_point time) const {
    const auto steps = std::clamp<Clock::duration::rep>((time - begin_) / width_, 0, columns - 1);
    return static_cast<std::size_t>(steps);
  }

  /// A line of numbers, the milliseconds since the beginning, each left-aligned at its place.
  std::string ruler() const {
    std::string line(columns, ' ');
    for (auto time = begin_; column(time) + 5 <= columns; time += std::chrono::milliseconds(100)) {
      const std::string number =
          std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(time - begin_).count());
      const std::size_t at = column(time);
      if (at > 0 && line[at - 1] != ' ') continue;
      line.replace(at, number.size(), number);
    }
    return line;
  }

 private:
  Clock::time_point begin_;
  Clock::duration width_;
};

/// One line of the chart, drawn like a wall: what is painted last is seen.
class Row {
 public:
  explicit Row(const Scale& scale) : scale_(scale) {}

  void paint(Scale::Clock::time_point from, Scale::Clock::time_point to, char c) {
    for (std::size_t i = scale_.column(from); i <= scale_.column(to); ++i) text_[i] = c;
  }
  void paint(Scale::Clock::time_point at, char c) { paint(at, at, c); }

  const std::string& text() const { return text_; }

 private:
  const Scale& scale_;
  std::string text_ = std::string(Scale::columns, ' ');
};
