// What this process holds, as the system counts it.
#pragma once

#include <chrono>
#include <filesystem>
#include <fstream>
#include <ostream>
#include <string>
#include <thread>

namespace hfr_tests {

struct Held {
  long files = 0;     // descriptors
  long threads = 0;   // of the process
  long mappings = 0;  // of the library's memfds

  bool within(const Held& bound) const {
    return files <= bound.files && threads <= bound.threads && mappings <= bound.mappings;
  }

  static Held now() {
    Held held;
    held.files = entries("/proc/self/fd");
    held.threads = entries("/proc/self/task");
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) {
      if (line.find("memfd:hfreduce") != std::string::npos) ++held.mappings;
    }
    return held;
  }

  // What is held once it is within `bound`, or after a time that tells a leak: threads that were
  // joined are listed for a moment longer.
  static Held at_last(const Held& bound) {
    const auto latest = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    Held held = now();
    while (!held.within(bound) && std::chrono::steady_clock::now() < latest) {
      std::this_thread::yield();
      held = now();
    }
    return held;
  }

  friend std::ostream& operator<<(std::ostream& out, const Held& held) {
    return out << held.files << " files, " << held.threads << " threads, " << held.mappings
               << " mappings";
  }

 private:
  static long entries(const char* folder) {
    long count = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      static_cast<void>(entry);
      ++count;
    }
    return count;
  }
};

}  // namespace hfr_tests
