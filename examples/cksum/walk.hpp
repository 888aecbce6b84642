#pragma once

#include <algorithm>     // for sort
#include <cstddef>       // for ptrdiff_t, size_t
#include <filesystem>    // for directory_iterator, is_directory
#include <functional>    // for greater
#include <iterator>      // for default_sentinel_t, input_iterator_tag
#include <optional>      // for optional
#include <ranges>        // for view_base
#include <string>        // for string
#include <system_error>  // for error_code
#include <utility>       // for move
#include <vector>        // for vector

/// One stop of a walk: a file to read, or a folder that could not be listed.
struct Entry {
  std::string name;
  std::error_code error;
};

/// The files below some paths, one at a time, as an input range.
///
/// A path that is a folder stands for the regular files in it and below it; symbolic links inside are not followed.
/// Any other path stands for itself, and whether it can be read is found out by whoever reads it. Names are those of
/// `find PATH -type f`, and those below one path come in the order of `LC_ALL=C sort`.
///
/// Only the folders between the path and the current file are held in memory, and of those only the names still to
/// come. Nothing but the listing of one folder happens between two files.
class Walk : public std::ranges::view_base {
 public:
  class Iterator {
   public:
    using iterator_concept = std::input_iterator_tag;
    using value_type = Entry;
    using difference_type = std::ptrdiff_t;

    explicit Iterator(Walk& walk) : walk_(&walk) {}

    const Entry& operator*() const { return *walk_->current_; }
    Iterator& operator++() {
      walk_->advance();
      return *this;
    }
    void operator++(int) { ++*this; }
    bool operator==(std::default_sentinel_t) const { return !walk_->current_; }

   private:
    Walk* walk_;
  };

  explicit Walk(std::vector<std::string> paths) : paths_(std::move(paths)) {}

  /// May be called once, as for any range that is read from its source.
  Iterator begin() {
    advance();
    return Iterator(*this);
  }
  std::default_sentinel_t end() const { return std::default_sentinel; }

 private:
  struct Folder {
    std::string prefix;              // what its names begin with: ends in a slash
    std::vector<std::string> names;  // still to be visited, last one first; a folder's ends in a slash
  };

  void advance() {
    while (true) {
      while (!folders_.empty() && folders_.back().names.empty()) folders_.pop_back();
      std::string name;
      bool is_folder = false;
      if (!folders_.empty()) {
        Folder& folder = folders_.back();
        name = folder.prefix + folder.names.back();
        folder.names.pop_back();
        is_folder = name.back() == '/';
        if (is_folder) name.pop_back();
      } else if (next_path_ < paths_.size()) {
        name = std::move(paths_[next_path_++]);
        std::error_code ignored;
        is_folder = std::filesystem::is_directory(name, ignored);
      } else {
        current_.reset();
        return;
      }
      const std::error_code error = is_folder ? enter(name) : std::error_code();
      if (is_folder && !error) continue;
      current_ = Entry{std::move(name), error};
      return;
    }
  }

  /// Lists a folder and makes it the current one, as far as it could be listed.
  std::error_code enter(const std::string& name) {
    Folder folder{name.ends_with('/') ? name : name + '/', {}};
    std::error_code error;
    const std::filesystem::directory_iterator end;
    for (std::filesystem::directory_iterator it(name, error); !error && it != end; it.increment(error)) {
      std::error_code ignored;  // an entry that vanished meanwhile is no entry
      if (it->is_symlink(ignored)) continue;
      // The slash marks a folder, and makes it sort where the names below it belong: "a.c" comes before "a/b".
      if (it->is_directory(ignored)) {
        folder.names.push_back(it->path().filename().native() + '/');
      } else if (it->is_regular_file(ignored)) {
        folder.names.push_back(it->path().filename().native());
      }
    }
    std::ranges::sort(folder.names, std::ranges::greater());
    folders_.push_back(std::move(folder));
    return error;
  }

  std::vector<std::string> paths_;
  std::size_t next_path_ = 0;
  std::vector<Folder> folders_;  // from the path that was given down to the current folder
  std::optional<Entry> current_;
};
