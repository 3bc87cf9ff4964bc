#include "jwt.h"

#include <google/protobuf/util/json_util.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/param_build.h>

#include <algorithm>
#include <ctime>

#include "api.h"

namespace {

using google::protobuf::Struct;

std::string decode(std::string text) {
  std::replace(text.begin(), text.end(), '-', '+');
  std::replace(text.begin(), text.end(), '_', '/');
  size_t padding = (4 - text.size() % 4) % 4;
  text.append(padding, '=');
  std::string bytes(text.size() / 4 * 3, '\0');
  int length = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(bytes.data()), reinterpret_cast<const unsigned char*>(text.data()),
                               static_cast<int>(text.size()));
  if (length < 0) throw Refused("no base64url");
  bytes.resize(static_cast<size_t>(length) - padding);
  return bytes;
}

Struct json(const std::string& text) {
  Struct document;
  if (!google::protobuf::util::JsonStringToMessage(text, &document).ok()) throw Refused("no JSON: " + text);
  return document;
}

std::string text(const Struct& document, const std::string& name) {
  auto found = document.fields().find(name);
  return found == document.fields().end() ? std::string() : found->second.string_value();
}

// `parts` are what lies between the dots.
Struct part(const std::string& token, int index) {
  size_t start = 0;
  for (; index > 0; --index) start = token.find('.', start) + 1;
  return json(decode(token.substr(start, token.find('.', start) - start)));
}

EVP_PKEY* public_key(const Struct& jwk) {
  if (text(jwk, "kty") != "EC" || text(jwk, "crv") != "P-256") fail("a key of another kind: " + jwk.DebugString());
  std::string point = "\x04" + decode(text(jwk, "x")) + decode(text(jwk, "y"));
  std::unique_ptr<OSSL_PARAM_BLD, Freed<OSSL_PARAM_BLD_free>> builder(OSSL_PARAM_BLD_new());
  OSSL_PARAM_BLD_push_utf8_string(builder.get(), OSSL_PKEY_PARAM_GROUP_NAME, "P-256", 0);
  OSSL_PARAM_BLD_push_octet_string(builder.get(), OSSL_PKEY_PARAM_PUB_KEY, point.data(), point.size());
  std::unique_ptr<OSSL_PARAM, Freed<OSSL_PARAM_free>> parameters(OSSL_PARAM_BLD_to_param(builder.get()));
  std::unique_ptr<EVP_PKEY_CTX, Freed<EVP_PKEY_CTX_free>> context(EVP_PKEY_CTX_new_from_name(nullptr, "EC", nullptr));
  EVP_PKEY* key = nullptr;
  if (EVP_PKEY_fromdata_init(context.get()) != 1 || EVP_PKEY_fromdata(context.get(), &key, EVP_PKEY_PUBLIC_KEY, parameters.get()) != 1) {
    fail("a key is no point of its curve: " + jwk.DebugString());
  }
  return key;
}

bool is_signed_by(EVP_PKEY* key, const std::string& signed_text, const std::string& signature) {
  if (signature.size() != 64) return false;
  auto bytes = reinterpret_cast<const unsigned char*>(signature.data());
  std::unique_ptr<ECDSA_SIG, Freed<ECDSA_SIG_free>> numbers(ECDSA_SIG_new());
  ECDSA_SIG_set0(numbers.get(), BN_bin2bn(bytes, 32, nullptr), BN_bin2bn(bytes + 32, 32, nullptr));
  unsigned char* der = nullptr;
  int length = i2d_ECDSA_SIG(numbers.get(), &der);
  std::unique_ptr<EVP_MD_CTX, Freed<EVP_MD_CTX_free>> context(EVP_MD_CTX_new());
  bool is_good = EVP_DigestVerifyInit(context.get(), nullptr, EVP_sha256(), nullptr, key) == 1 &&
                 EVP_DigestVerify(context.get(), der, static_cast<size_t>(length),
                                  reinterpret_cast<const unsigned char*>(signed_text.data()), signed_text.size()) == 1;
  OPENSSL_free(der);
  return is_good;
}

bool is_for(const google::protobuf::Value& claim, const std::string& audience) {
  if (claim.string_value() == audience) return true;
  const auto& values = claim.list_value().values();
  return std::any_of(values.begin(), values.end(), [&](const auto& value) { return value.string_value() == audience; });
}

}  // namespace

Keys keys(const std::string& document) {
  Keys found;
  if (document.empty()) return found;
  Struct set = json(document);
  for (const auto& value : set.fields().at("keys").list_value().values()) {
    found[text(value.struct_value(), "kid")].reset(public_key(value.struct_value()));
  }
  return found;
}

std::string key_id(const std::string& token) { return text(part(token, 0), "kid"); }

Struct verify_token(const std::string& token, const Keys& keys, const std::string& audience) {
  auto key = keys.find(key_id(token));
  if (key == keys.end()) throw Refused("no key " + key_id(token));
  if (text(part(token, 0), "alg") != "ES256") fail("a token of another kind: " + token);
  size_t end = token.rfind('.');
  if (!is_signed_by(key->second.get(), token.substr(0, end), decode(token.substr(end + 1)))) throw Refused("a wrong signature");
  Struct claims = part(token, 1);
  if (claims.fields().at("exp").number_value() <= static_cast<double>(std::time(nullptr))) throw Refused("it has ended");
  if (!is_for(claims.fields().at("aud"), audience)) throw Refused("it is for others");
  return claims;
}
