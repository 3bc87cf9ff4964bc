// What the program can do: see main.cc.
#pragma once

#include <string>

void workload(const std::string& audience);
void meet(const std::string& folder, const std::string& name, const std::string& other, const std::string& id);
