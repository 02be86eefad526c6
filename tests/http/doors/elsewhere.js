// Sends what is meant for Digiflazz to the door at DOOR, so that a client's code stays as it is.
const http = require('http');
const https = require('https');

const door = new URL(process.env.DOOR);
const original = https.request;

https.request = function (options, ...rest) {
  if (options.host !== 'api.digiflazz.com') return original.call(https, options, ...rest);
  const path = door.pathname + options.path;
  const elsewhere = { protocol: 'http:', host: door.hostname, port: door.port, path, agent: undefined };
  return http.request({ ...options, ...elsewhere }, ...rest);
};
