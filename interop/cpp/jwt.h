// JWT-SVIDs by OpenSSL, as RFC 7515 says, and JWK sets.
#pragma once

#include <google/protobuf/struct.pb.h>
#include <openssl/evp.h>

#include <map>
#include <memory>
#include <string>

#include "tls.h"

using Keys = std::map<std::string, std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY_free>>>;

// A JWK set by the IDs of its keys; of nothing, none.
Keys keys(const std::string& document);
// The claims of a token that one of these keys signed, that is for this audience alone or among others, and has not ended. Else a Refused.
google::protobuf::Struct verify_token(const std::string& token, const Keys& keys, const std::string& audience);
// The ID of the key that is said to have signed it.
std::string key_id(const std::string& token);
