// All schedules with at most so many preemptions, one after another: where the other strategies sample, this one is
// exhaustive, for scenarios that are small enough. Most bugs need two preemptions, or fewer, in the right places.
// Musuvathi and Qadeer, "Iterative context bounding for systematic testing of multithreaded programs", PLDI 2007,
// doi:10.1145/1273442.1250785.
#pragma once

#include <cstddef>      // for std::size_t
#include <cstdint>      // for std::uint64_t
#include <cstdlib>      // for std::strtoull
#include <map>          // for std::map
#include <string>       // for std::string
#include <string_view>  // for std::string_view
#include <vector>       // for std::vector

#include "schedule_point.hpp"

namespace explore {

/// Goes through the tree of all choices of a program that does the same whenever it is given the same choices: depth
/// first, always with the last choice changed that can be. Choice 0 is what happens when nobody interferes.
class BoundedSearch {
 public:
  /// `bound`: how many choices that cost something a schedule may have. `most_choices`: at least those of the longest.
  BoundedSearch(unsigned bound, std::size_t most_choices) : bound_(bound) { path_.reserve(most_choices); }

  /// One schedule only: the one of which text() was this.
  explicit BoundedSearch(std::string_view text) : replays_(true) {
    const std::string copy(text);
    for (const char* at = copy.c_str(); *at != '\0';) {
      char* end = nullptr;
      const std::uint64_t position = std::strtoull(at, &end, 10);
      if (*end != ':') break;
      replayed_[position] = static_cast<unsigned>(std::strtoull(end + 1, &end, 10));
      at = *end == ',' ? end + 1 : end;
    }
  }

  void begin() noexcept {
    position_ = 0;
    depth_ = 0;
    left_ = bound_;
  }

  /// Which of `options` it is to be, in this schedule. Does not allocate.
  unsigned choose(unsigned options, bool costs) noexcept {
    ++position_;
    if (replays_) {
      const auto found = replayed_.find(position_);
      return found != replayed_.end() && found->second < options ? found->second : 0;
    }
    if (costs && left_ == 0) return 0;
    if (depth_ == path_.size()) {
      if (path_.size() == path_.capacity()) fail("explore: too many choices");
      path_.push_back({position_, options, 0});
    }
    const Choice& choice = path_[depth_++];
    if (choice.position != position_ || choice.options != options)
      fail("explore: the same choices led to something else");
    if (costs && choice.taken != 0) --left_;
    return choice.taken;
  }

  /// On to the next schedule; false when that was the last.
  bool next() noexcept {
    while (!path_.empty() && path_.back().taken + 1 == path_.back().options) path_.pop_back();
    if (path_.empty()) return false;
    ++path_.back().taken;
    return true;
  }

  /// The choices other than 0 of this schedule, each with its position, as in "17:1,42:2".
  [[nodiscard]] std::string text() const {
    std::string text;
    const auto add = [&text](std::uint64_t position, unsigned taken) {
      if (taken == 0) return;
      if (!text.empty()) text += ',';
      text += std::to_string(position) + ':' + std::to_string(taken);
    };
    for (const auto& [position, taken] : replayed_) add(position, taken);
    for (const Choice& choice : path_) add(choice.position, choice.taken);
    return text;
  }

 private:
  struct Choice {
    std::uint64_t position = 0;  // counts all calls of choose(): what replays it needs no bound
    unsigned options = 0;
    unsigned taken = 0;
  };

  unsigned bound_ = 0;
  unsigned left_ = 0;  // of the bound
  std::uint64_t position_ = 0;
  std::size_t depth_ = 0;
  std::vector<Choice> path_;
  bool replays_ = false;
  std::map<std::uint64_t, unsigned> replayed_;
};

}  // namespace explore
