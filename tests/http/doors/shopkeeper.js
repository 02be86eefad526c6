// Buys with the package `digiflazz` as its README shows, and prints what it understood.
const Digiflazz = require('digiflazz');

const [username, key, wrong, secret] = process.argv.slice(2);
const client = new Digiflazz(username, key, secret);
const stranger = new Digiflazz(username, wrong);

const said = (promise) =>
  promise.then((data) => ({ data })).catch((error) => ({ error: error.name, message: error.message }));

function hook(webhook) {
  const request = { headers: webhook.headers, body: JSON.parse(webhook.body) };
  client.onWebhook(request, { json: () => null }, () => null);
  return request.digiwebhooks || null;
}

(async () => {
  if (process.env.WEBHOOK) {
    console.log(JSON.stringify({ hook: hook(JSON.parse(process.env.WEBHOOK)) }));
    return;
  }
  console.log(
    JSON.stringify({
      balance: await said(client.cekSaldo()),
      prices: await said(client.daftarHarga()),
      bought: await said(client.transaksi('TSEL10', '081234567800', 'N1')),
      again: await said(client.transaksi('TSEL10', '081234567800', 'N1')),
      unknown: await said(client.transaksi('NONE', '081234567800', 'N2')),
      stranger: await said(stranger.transaksi('TSEL10', '081234567800', 'N3')),
    }),
  );
})();
