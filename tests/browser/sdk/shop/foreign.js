// Served without CORS: of what goes wrong here the browser says "Script error." and no more.
for (let index = 0; index < 3; index++) setTimeout(() => { throw new Error("nobody may know this"); }, 0);
