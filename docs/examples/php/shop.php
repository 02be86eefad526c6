<?php
/**
 * A small shop that sells top-ups through Jalur. PHP 8.1 or newer, no framework, no extension.
 *
 *     export JALUR_URL=http://127.0.0.1:8080 JALUR_KEY=jalur_test_… SHOP_URL=http://127.0.0.1:9000
 *     PHP_CLI_SERVER_WORKERS=4 php -S 127.0.0.1:9000 shop.php &
 *     php shop.php open
 *
 *     curl -d '{"sku": "S10", "number": "081234567800"}' http://127.0.0.1:9000/sales
 *     curl http://127.0.0.1:9000/sales/SHOP-1
 *
 * What it shows: the reference is stored before the order is sent; an unclear answer is followed by
 * the same order; webhooks are verified, worked on once, and never overwrite newer news with older;
 * `php shop.php open` reads what was missed while the shop was closed.
 */
declare(strict_types=1);

const TRIES = 6;
const TIMEOUT_SECONDS = 30;

function setting(string $name, string $default): string
{
    $value = getenv($name);
    return $value === false || $value === '' ? $default : $value;
}

// ---------------------------------------------------------------- the shop's own books

/** Change the books while nobody else does; they are one JSON file. Returns what $change returns. */
function books(callable $change): mixed
{
    $file = fopen(setting('SHOP_FILE', __DIR__ . '/shop.json'), 'c+');
    flock($file, LOCK_EX);
    $text = stream_get_contents($file);
    $books = $text === '' ? ['sales' => [], 'heard' => []] : json_decode($text, true);
    $result = $change($books);
    rewind($file);
    $text = json_encode($books, JSON_THROW_ON_ERROR);
    fwrite($file, $text);
    ftruncate($file, strlen($text));
    fclose($file);
    return $result;
}

/** Write what Jalur says about an order, unless we know something newer. */
function take_over(array &$books, array $order): void
{
    $sale = $books['sales'][$order['ref_id']] ?? null;
    if ($sale !== null && $sale['version'] < $order['version']) {
        $books['sales'][$order['ref_id']] = [
            'status' => $order['status'],
            'version' => $order['version'],
            'serial_number' => $order['serial_number'],
            'why' => $order['failure']['code'] ?? null,
        ] + $sale;
    }
}

// ---------------------------------------------------------------- Jalur

/** One request: [status, answer]; status 0 where no answer came, or none of Jalur's. */
function call(string $method, string $path, ?array $body = null): array
{
    $request = [
        'method' => $method,
        'header' => [
            'Authorization: Bearer ' . setting('JALUR_KEY', ''),
            'Content-Type: application/json',
        ],
        'timeout' => TIMEOUT_SECONDS,
        'ignore_errors' => true,
        'follow_location' => 0,
    ];
    if ($body !== null) {
        $request['content'] = json_encode($body, JSON_THROW_ON_ERROR);
    }
    $address = setting('JALUR_URL', 'http://127.0.0.1:8080') . $path;
    $text = @file_get_contents($address, false, stream_context_create(['http' => $request]));
    $answer = $text === false ? null : json_decode($text, true);
    $line = $http_response_header[0] ?? '';
    return is_array($answer) ? [(int) explode(' ', $line)[1], $answer] : [0, []];
}

/** Send a sale to Jalur until there is a clear answer: the same order, every time. */
function order(array $sale): void
{
    $wanted = [
        'ref_id' => $sale['ref_id'],
        'sku' => $sale['sku'],
        'customer_number' => $sale['number'],
    ];
    for ($try = 0; $try < TRIES; $try++) {
        [$status, $answer] = call('POST', '/v1/orders', $wanted);
        if ($status === 200 || $status === 202) {
            books(function (array &$books) use ($answer): void {
                take_over($books, $answer);
            });
            return;
        }
        if ($status >= 400 && $status < 500 && $status !== 429) { // a clear no: nothing was ordered
            books(function (array &$books) use ($sale, $answer): void {
                $known = &$books['sales'][$sale['ref_id']];
                if ($known['version'] === 0) {
                    $known = ['status' => 'refused', 'why' => $answer['code']] + $known;
                }
            });
            return;
        }
        usleep((int) (min(60, 2 ** $try) * random_int(800_000, 1_200_000)));
    }
    // Still unclear: the sale stays 'new', and `php shop.php open` sends it again.
}

/** Throws unless $body was signed with $secret a moment ago. */
function verify_webhook(string $secret, array $headers, string $body, int $tolerance = 300): void
{
    $id = $headers['webhook-id'] ?? '';
    $timestamp = $headers['webhook-timestamp'] ?? '';
    if (!ctype_digit($timestamp) || abs(time() - (int) $timestamp) > $tolerance) {
        throw new RuntimeException('the webhook is too old or from the future');
    }
    $key = base64_decode(substr($secret, strlen('whsec_')), true);
    $expected = 'v1,' . base64_encode(hash_hmac('sha256', "$id.$timestamp.$body", $key, true));
    foreach (explode(' ', $headers['webhook-signature'] ?? '') as $given) {
        if (hash_equals($expected, $given)) {
            return;
        }
    }
    throw new RuntimeException('the signature is wrong');
}

/** Work on an event, once, whichever way it came. */
function hear(string $webhook_id, array $event): void
{
    books(function (array &$books) use ($webhook_id, $event): void {
        if (!isset($books['heard'][$webhook_id])) {
            $books['heard'][$webhook_id] = true;
            if (str_starts_with($event['type'], 'order.')) {
                take_over($books, $event['data']);
            }
        }
    });
}

/** Ask for webhooks, the first time; catch up with what was missed; send what was not sent. */
function open_shop(): void
{
    if (books(fn (array &$books) => $books['secret'] ?? null) === null) {
        $url = setting('SHOP_URL', 'http://127.0.0.1:9000') . '/jalur';
        [$status, $endpoint] = call('POST', '/v1/webhook-endpoints', ['url' => $url]);
        if ($status !== 201) {
            exit('Jalur refuses our webhook address: ' . ($endpoint['detail'] ?? 'no answer') . "\n");
        }
        books(function (array &$books) use ($endpoint): void {
            $books['secret'] = $endpoint['secret'];
        });
    }
    do {
        $cursor = books(fn (array &$books) => $books['cursor'] ?? null);
        $after = $cursor === null ? '' : '&cursor=' . urlencode($cursor);
        [$status, $page] = call('GET', "/v1/events?limit=100$after");
        if ($status !== 200) {
            exit('Jalur does not tell us its events: ' . ($page['detail'] ?? 'no answer') . "\n");
        }
        foreach ($page['data'] as $event) {
            hear($event['id'], $event);
        }
        books(function (array &$books) use ($page): void {
            $books['cursor'] = $page['next_cursor'] ?? $books['cursor'] ?? null;
        });
    } while ($page['has_more']);
    foreach (books(fn (array &$books) => $books['sales']) as $sale) {
        if ($sale['status'] === 'new') {
            order($sale);
        }
    }
}

// ---------------------------------------------------------------- the shop's door

function answer(int $status, array $content): void
{
    http_response_code($status);
    header('Content-Type: application/json');
    echo json_encode($content, JSON_THROW_ON_ERROR);
}

function webhook(): void
{
    $body = file_get_contents('php://input');
    $headers = array_change_key_case(getallheaders());
    try {
        $secret = books(fn (array &$books) => $books['secret'] ?? '');
        verify_webhook($secret, $headers, $body);
    } catch (RuntimeException $fault) {
        answer(400, ['error' => $fault->getMessage()]);
        return;
    }
    hear($headers['webhook-id'], json_decode($body, true));
    answer(200, []);
}

function sell(): void
{
    $wanted = json_decode(file_get_contents('php://input'), true);
    $sale = books(function (array &$books) use ($wanted): array { // safe before anything is sent
        $ref_id = 'SHOP-' . (count($books['sales']) + 1);
        return $books['sales'][$ref_id] = [
            'ref_id' => $ref_id,
            'sku' => $wanted['sku'],
            'number' => $wanted['number'],
            'status' => 'new',
            'version' => 0,
            'serial_number' => null,
            'why' => null,
        ];
    });
    order($sale);
    answer(201, books(fn (array &$books) => $books['sales'][$sale['ref_id']]));
}

function show(string $ref_id): void
{
    $sale = books(fn (array &$books) => $books['sales'][$ref_id] ?? null);
    answer($sale === null ? 404 : 200, $sale ?? ['error' => 'no such sale']);
}

if (PHP_SAPI === 'cli') {
    open_shop();
    return;
}
$path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
match (true) {
    $_SERVER['REQUEST_METHOD'] === 'POST' && $path === '/jalur' => webhook(),
    $_SERVER['REQUEST_METHOD'] === 'POST' && $path === '/sales' => sell(),
    str_starts_with($path, '/sales/') => show(substr($path, strlen('/sales/'))),
    default => answer(404, ['error' => 'nothing here']),
};
