"""Made-up secrets of every kind, and ordinary text that only looks a little like them.

Nothing in here opens a door: every value is drawn from a seeded generator or is a documented test number.
The fixed parts are put together at run time so that scanners of source code stay calm.
"""

from __future__ import annotations

import base64
import json
import random
import string
import uuid
from collections.abc import Callable, Iterator

from msgspec import Struct

ALNUM = string.ascii_letters + string.digits
URLSAFE = ALNUM + "-_"
HEX = "0123456789abcdef"
BASE32 = string.ascii_uppercase + "234567"

PROSE = [
    "Please look at {} before you go on.",
    "{}",
    "first line\n{}\nlast line",
    'he wrote "{}" and left',
    "Bitte prüfen: {}, danke, Grüße",
    "请检查 {} 谢谢",
    "```\nexport VALUE={}\n```",
]


class Sample(Struct, frozen=True):
    """`text` holds `secret`, which must not be found in anything that leaves."""

    kind: str
    text: str
    secret: str


class Maker:
    """Draws samples; the same seed draws the same."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def of(self, alphabet: str, length: int) -> str:
        return "".join(self.random.choices(alphabet, k=length))

    def drawn(self, length: int, alphabet: str = ALNUM) -> str:
        """Random characters with a letter and two digits for certain, as long keys have."""
        return "a7" + self.of(alphabet, length - 4) + "b3"

    def base64(self, length: int) -> str:
        return base64.b64encode(self.random.randbytes(length)).decode()

    def jwt(self) -> str:
        parts = [{"alg": "HS256", "typ": "JWT"}, {"sub": self.drawn(10), "exp": 1764000000}]
        coded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
        return ".".join([*coded, self.of(URLSAFE, 43)])

    def pem(self, kind: str = "RSA ") -> str:
        body = self.base64(600)
        lines = "\n".join(body[i : i + 64] for i in range(0, len(body), 64))
        return f"-----BEGIN {kind}PRIVATE KEY-----\n{lines}\n-----END {kind}PRIVATE KEY-----"

    def uuid(self) -> str:
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

    def card(self) -> str:
        prefix, length = self.random.choice([("4", 16), ("51", 16), ("37", 15), ("6011", 16), ("3530", 16)])
        digits = prefix + self.of(string.digits, length - len(prefix) - 1)
        total = 0
        for place, digit in enumerate(reversed(digits)):
            value = int(digit) * (1 if place % 2 else 2)
            total += value - 9 if value > 9 else value
        return digits + str(-total % 10)

    def iban(self) -> str:
        country, length = self.random.choice([("DE", 22), ("NL", 18), ("AT", 20), ("ES", 24), ("PL", 28)])
        account = self.of(string.digits, length - 4)
        if country == "NL":
            account = "ABNA" + account[4:]
        turned = "".join(str(int(each, 36)) for each in account + country + "00")
        return f"{country}{98 - int(turned) % 97:02}{account}"


def _by_four(text: str, separator: str = " ") -> str:
    return separator.join(text[i : i + 4] for i in range(0, len(text), 4))


TOKENS: dict[str, Callable[[Maker], str]] = {
    "openai_key": lambda m: "sk-" + m.drawn(48),
    "openai_key/project": lambda m: "sk-proj-" + m.drawn(120, ALNUM) + "T3BlbkFJ" + m.of(URLSAFE, 20),
    "anthropic_key": lambda m: "sk-ant-" + "api03-" + m.of(URLSAFE, 93) + "AA",
    "langfuse_key": lambda m: "sk-lf-" + m.uuid(),
    "openrouter_key": lambda m: "sk-or-" + "v1-" + m.of(HEX, 64),
    "google_key": lambda m: "AIza" + m.of(URLSAFE, 35),
    "google_token": lambda m: "ya29." + m.of(URLSAFE, 120),
    "google_client_secret": lambda m: "GOCSPX-" + m.of(URLSAFE, 28),
    "aws_access_key": lambda m: m.random.choice(["AKIA", "ASIA"]) + m.of(BASE32, 16),
    "aws_bedrock_key": lambda m: "ABSK" + m.base64(93),
    "azure_key": lambda m: m.of(ALNUM, 52) + "JQQJ99" + m.of(ALNUM, 26),
    "azure_client_secret": lambda m: m.of(ALNUM, 3) + "8Q~" + m.of(ALNUM + "_-~", 34),
    "huggingface_token": lambda m: "hf_" + m.of(string.ascii_letters, 34),
    "groq_key": lambda m: "gsk_" + m.of(ALNUM, 52),
    "xai_key": lambda m: "xai-" + m.of(ALNUM, 80),
    "perplexity_key": lambda m: "pplx-" + m.of(ALNUM, 48),
    "replicate_token": lambda m: "r8_" + m.of(ALNUM, 37),
    "fireworks_key": lambda m: "fw_" + m.of(ALNUM, 22),
    "nvidia_key": lambda m: "nvapi-" + m.of(URLSAFE, 64),
    "langsmith_key": lambda m: "lsv2_pt_" + m.of(HEX, 32) + "_" + m.of(HEX, 10),
    "tavily_key": lambda m: "tvly-" + "dev-" + m.of(ALNUM, 32),
    "databricks_token": lambda m: "dapi" + m.of(HEX, 32),
    "github_token": lambda m: m.random.choice(["ghp_", "gho_", "ghu_", "ghs_", "ghr_"]) + m.of(ALNUM, 36),
    "github_token/fine": lambda m: "github_pat_" + m.of(ALNUM, 22) + "_" + m.of(ALNUM, 59),
    "gitlab_token": lambda m: "glpat-" + m.of(URLSAFE, 20),
    "slack_token": lambda m: "xoxb-" + m.of(string.digits, 12) + "-" + m.of(ALNUM, 24),
    "slack_token/app": lambda m: "xapp-1-" + m.of(ALNUM, 11) + "-" + m.of(HEX, 64),
    "stripe_key": lambda m: m.random.choice(["sk_live_", "sk_test_", "rk_live_"]) + m.of(ALNUM, 24),
    "stripe_webhook_secret": lambda m: "whsec_" + m.of(ALNUM, 32),
    "twilio_key": lambda m: "SK" + m.of(HEX, 32),
    "twilio_account": lambda m: "AC" + m.of(HEX, 32),
    "sendgrid_key": lambda m: "SG." + m.of(URLSAFE, 22) + "." + m.of(URLSAFE, 43),
    "mailgun_key": lambda m: "key-" + m.of(HEX, 32),
    "npm_token": lambda m: "npm_" + m.of(ALNUM, 36),
    "pypi_token": lambda m: "pypi-" + "AgEIcHlwaS5vcmc" + m.of(URLSAFE, 150),
    "docker_token": lambda m: "dckr_pat_" + m.of(URLSAFE, 27),
    "vault_token": lambda m: "hvs." + m.of(URLSAFE, 90),
    "digitalocean_token": lambda m: "dop_v1_" + m.of(HEX, 64),
    "shopify_token": lambda m: "shpat_" + m.of(HEX, 32),
    "atlassian_token": lambda m: "ATATT3" + m.of(URLSAFE, 180),
    "grafana_token": lambda m: "glsa_" + m.of(ALNUM, 32) + "_" + m.of(HEX, 8),
    "linear_key": lambda m: "lin_api_" + m.of(ALNUM, 40),
    "notion_token": lambda m: "ntn_" + m.of(ALNUM, 46),
    "telegram_token": lambda m: "1" + m.of(string.digits, 9) + ":AA" + m.of(URLSAFE, 33),
    "age_key": lambda m: "AGE-SECRET-KEY-1" + m.of(string.ascii_uppercase + string.digits, 58),
    "jwt": lambda m: m.jwt(),
    "private_key": lambda m: m.pem(m.random.choice(["RSA ", "EC ", "", "OPENSSH ", "ENCRYPTED "])),
}
"""Kinds that are a word of their own; what stands after a slash tells two of one kind apart."""

PERSONAL: dict[str, Callable[[Maker], str]] = {
    "email": lambda m: (
        f"{m.of(string.ascii_lowercase, 6)}.{m.of(HEX, 4)}@{m.of(string.ascii_lowercase, 7)}.example"
    ),
    "phone": lambda m: m.random.choice(["+49 30 ", "+1-555-", "+44 20 ", "+33 1 "]) + m.of("123456789", 7),
    "phone/compact": lambda m: "+4915" + m.of(string.digits, 9),
    "phone/zeros": lambda m: "0049 30 " + m.of("123456789", 7),
    "card": lambda m: m.card(),
    "card/spaces": lambda m: _spaced_visa(m),
    "iban": lambda m: m.iban(),
    "iban/spaces": lambda m: _by_four(m.iban()),
    "ip": lambda m: ".".join(str(m.random.randint(11, 250)) for _ in range(4)),
    "ip/6": lambda m: "2001:db8:" + ":".join(f"{m.random.getrandbits(16) | 0x1000:x}" for _ in range(6)),
    "ip/short": lambda m: f"2001:db8::{m.of(HEX, 4)}:{m.of(HEX, 4)}",
}


def _spaced_visa(maker: Maker) -> str:
    while not (number := maker.card()).startswith("4"):
        pass
    return _by_four(number, maker.random.choice([" ", "-"]))


def in_context(maker: Maker) -> Iterator[Sample]:
    """Secrets that only what stands around them gives away."""
    password = "p" + maker.drawn(9) + "!"
    for text in (
        f"postgres://app:{password}@db.internal:5432/orders",
        f"see https://build:{password}@git.example.com/x.git for more",
        f"amqp:\\/\\/user:{password}@queue:5672",
    ):
        yield Sample("url_password", text, password)
    token = maker.drawn(40)
    yield Sample("url_password", f"git clone https://{token}@git.example.com/x", token)
    for text in (
        f"password={password}",
        f"PASSWORD: {password}",
        f"DB_PASSWORD={password}\nDB_HOST=localhost",
        f"db.password = '{password}'",
        f'const cfg = {{ "passwd": "{password}" }}',
        f"Server=db;User ID=sa;Pwd={password};Encrypt=true",
        f'passphrase => "{password}"',
        f'{{\\"password\\": \\"{password}\\"}} was logged',
    ):
        yield Sample("password", text, password)
    secret = maker.drawn(32)
    for text in (
        f"api_key: {secret}",
        f"X-API-Key: {secret}",
        f"OPENAI_API_KEY={secret}",
        f'client_secret = "{secret}"',
        f"curl 'https://api.example.com/v1?access_token={secret}&page=2'",
        f'token: "{secret}"',
        f"auth-token={secret};",
        f"twilio_auth_token={maker.of(HEX, 30)}a1",
    ):
        yield Sample("secret", text, secret if secret in text else text[-32:])
    yield Sample("bearer_token", f"Authorization: Bearer {secret}", secret)
    yield Sample("bearer_token", f"curl -H 'authorization: bearer {secret}' https://x.example", secret)
    basic = base64.b64encode(f"user:{password}".encode()).decode()
    yield Sample("basic_credentials", f"Authorization: Basic {basic}", basic)
    aws = maker.of(ALNUM + "/+", 40)
    for text in (
        f"aws_secret_access_key = {aws}",
        f'"SecretAccessKey": "{aws}"',
        f"AWS_SECRET_ACCESS_KEY={aws}",
        f"AKIA{maker.of(BASE32, 16)},{aws}",
    ):
        yield Sample("aws_secret_key", text, aws)
    storage = maker.base64(64)
    yield Sample(
        "azure_storage_key", f"AccountName=x;AccountKey={storage};EndpointSuffix=core.windows.net", storage
    )
    signature = maker.of(ALNUM, 43) + "%3D"
    yield Sample("azure_sas", f"https://x.blob.core.windows.net/c/f?sv=2024-01-01&sig={signature}", signature)
    hook = f"T{maker.of(BASE32, 8)}/B{maker.of(BASE32, 8)}/{maker.of(ALNUM, 24)}"
    yield Sample("slack_webhook", f"https://hooks.slack.com/services/{hook}", hook)


def samples(seed: int, *, personal: bool = True) -> Iterator[Sample]:
    """One of each kind, each somewhere in a text."""
    maker = Maker(seed)
    makers = {**TOKENS, **PERSONAL} if personal else TOKENS
    for name, make in makers.items():
        secret = make(maker)
        yield Sample(name.partition("/")[0], maker.random.choice(PROSE).format(secret), secret)
    yield from in_context(maker)


ORDINARY = [
    "The quick brown fox jumps over the lazy dog. It costs 12,345.67 EUR, due on 2025-11-24 at 16:00:00.",
    "Die Passwörter werden nie gespeichert. Das Passwort: mindestens 8 Zeichen, ein Sonderzeichen.",
    "Le mot de passe doit contenir 12 caractères. Où est passée la pièce jointe ?",
    "パスワードは8文字以上で入力してください。トークン数: 128",
    "密码必须至少包含 8 个字符。令牌有效期 30 天。",
    "La contraseña (password) es obligatoria. Token: requerido.",
    "Your password must be at least 12 characters. Password: required. Secrets are rotated every 90 days.",
    "Use a bearer token. Basic authentication is deprecated; Bearer authentication-schemes are listed below.",
    "The token count is 128. max_tokens: 4096, tokens=17, token: 5, next_page_token: CAUQAA12",
    'next_page_token = "CiAKGjBpNDd2Nmp2Zml2cXRwYjBpOXA"',
    "password = getpass.getpass(); token = tokens[0]; secret = os.environ['SECRET']",
    "client = OpenAI(api_key=settings.openai_api_key, base_url=base_url)",
    'api_key="${OPENAI_API_KEY}" password: "{{ vault.password }}" token="<your-token-here>"',
    "def login(user: str, password: str, token: Optional[str] = None) -> Session: ...",
    "export interface Login { password: string; secret: boolean; apiKey?: string }",
    '{"type": "object", "properties": {"password": {"type": "string"}, "api_key": {"type": "string"}}}',
    'if (password === "" || token == null) { return; }',
    "password_hash = bcrypt(password); secret_key = derive_key_v2(password)",
    "PWD=/home/user1 OLDPWD=/tmp",
    "550e8400-e29b-41d4-a716-446655440000 and a2f7b4d0-0000-4000-8000-000000000001",
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "commit da39a3ee5e6b4b0d3255bfef95601890afd80709 (HEAD -> main, tag: v1.24.3-rc.1)",
    "data:image/png;base64," + base64.b64encode(random.Random(5).randbytes(3000)).decode(),
    "started_at: 1764000000003, ns: 1764000000005000123, 2025-11-24T16:00:00.123+01:00, +02:00",
    "numpy==1.26.4 torch>=2.1.0 requests~=2.31.0 kernel 6.18.44 v1.2.3.4 4.0.0.0 Version=4.0.30319.1",
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/120.0.6099.109 Edg/120.0.2210.91",
    "127.0.0.1:8080 and 0.0.0.0 and ::1 and std::vector<int> and a::b::c and dead::beef, 12:34:56:78",
    "MAC 00:1b:44:11:3a:b7, ratio 16:9:4, 2024:11:24 10:11:12",
    "pi is 3.14159265358979323846, e 2.718281828459045, phi 0.4111111111111111, -1.7976931348623157e+308",
    "order 1234567890123, ISBN 978-3-16-148410-0, EAN 4006381333931, tracking 1Z999AA10123456784",
    "x = a+12345678; y = b + 1; diff: +++ b/src/main.py @@ -1,7 +1,9 @@ def f():",
    "decorators like @dataclass, @app.route and @pytest.mark.parametrize; npm i @types/node@20.1.0",
    ".sk-estimator-doc-link-fitted-hover{color:red} <div class='sk-toggleable__label-arrow'> sk-learn",
    "hf_hub_download(repo_id='x', filename='y'); hf_model = AutoModel.from_pretrained(path_to_model)",
    "https://example.com:8443/docs/a/b?c=d&e=f#g http://user@host/path mailto: ssh://git@host:22/x.git",
    "SKU ACME-2024-00017, room AC12, gate SK7, Basic plan, eyJ is how a token begins, AKIA is a prefix",
    "| name | value |\n|---|---|\n| latency_p99 | 132.5 ms |\n| errors | 0.02 % |\n\n- item one\n- item two",
    "SELECT id, token_type, created_at FROM sessions WHERE status = 'open' AND total > 100.00 ORDER BY 1;",
    "    kubectl -n prod get secrets -o json | jq '.items[].metadata.name'  # lists secret names",
    "It starts with -----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
    "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQC7 public keys may be shown; public_key: MFkwEwYHKoZIzj0CAQ",
    "C:\\new\\reports\\tables.txt \\nabla \\frac{1}{2} \\beta",
    "EUR 12 3456 7890, GB 1234, DE 12345 Berlin, NO 2024 REPORT ABOUT THINGS, IT33 is a road",
    "Call extension 4111, dial 110 or 112, room 0049, section 00123456789",
]
"""Nothing in here is a secret or says anything about a person."""
